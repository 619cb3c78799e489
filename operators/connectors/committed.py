"""What a table has committed, for those who have lost their own memory of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta import Fence, table_uri
from operators.connectors.seen import Seen

_HOUR: Final = 3_600_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS: Final = 100_000
_COMMITS: Final = 50


class CommittedIds:
    """The events of a table: columns `id_column`, event_time and coordinates, by event_date."""

    def __init__(
        self, root: str, table: str, fence: Fence, topic: str, id_column: str = "payment_id"
    ) -> None:
        """`topic` is the one that the events are from; the fence may have others too."""
        self._uri, self._fence = table_uri(root, table), fence
        self._topic, self._id_column = topic, id_column
        self._handle: DeltaTable | None = None

    def _newest_version(self) -> DeltaTable | None:
        if self._handle is None:
            if not DeltaTable.is_deltatable(self._uri):
                return None
            self._handle = DeltaTable(self._uri)
        else:
            self._handle.update_incremental()
        return self._handle

    def committed(self) -> Mapping[int, int]:
        """Return by partition the last offset that the table accounts for."""
        table = self._newest_version()
        if table is None:
            return {}
        reached = self._fence.read(table).offsets
        return {p: offset for (topic, p), offset in reached.items() if topic == self._topic}

    def newest(self) -> int | None:
        """Return the newest event hour in the table, or one past it; None if it is empty."""
        table = self._newest_version()
        if table is None:
            return None
        files = pl.DataFrame(table.get_add_actions(flatten=True))
        if files.height == 0:
            return None
        if "max.event_time" not in files.columns or files["max.event_time"].null_count():
            # Files without statistics: their days still bound them.
            day = files["partition.event_date"].cast(pl.Date).max()
            days: date = day  # type: ignore[assignment] # the column is of dates
            return (days - _EPOCH.date()).days * 24 + 24
        # Statistics are cut to milliseconds, which moves no time into another hour.
        newest = files["max.event_time"].cast(pl.Datetime("us", "UTC")).to_physical().max()
        return int(newest) // _HOUR  # type: ignore[arg-type] # a number

    def latest(self) -> Iterator[Seen]:
        """Yield the first records of at least the last two commits."""
        table = self._newest_version()
        if table is None:
            return
        # A commit's rows are stamped behind the commit before, and before its own time.
        times = [
            commit["timestamp"]
            for commit in table.history(_COMMITS)
            if commit.get("operation") == "WRITE"
        ]
        rows = pl.scan_delta(table)
        if len(times) > 2:
            since = datetime.fromtimestamp(times[2] / 1000, UTC)
            rows = rows.filter(pl.col("written_at") >= since)
        yield from self._parts(rows)

    def first(self, hours: Sequence[int]) -> Iterator[Seen]:
        """Yield the first records of these event hours."""
        table = self._newest_version()
        if table is None or not hours:
            return
        begin = _EPOCH + timedelta(hours=min(hours))
        end = _EPOCH + timedelta(hours=max(hours) + 1)
        days = {(_EPOCH + timedelta(hours=hour)).date() for hour in hours}
        time = pl.col("event_time")
        yield from self._parts(
            pl.scan_delta(table).filter(
                pl.col("event_date").is_in(sorted(days)),
                time >= begin,
                time < end,
                _hour().is_in(list(hours)),
            )
        )

    def _parts(self, rows: pl.LazyFrame) -> Iterator[Seen]:
        found = rows.select(
            self._id_column, _hour().alias("hour"), "source_partition", "source_offset"
        ).collect()
        for part in found.iter_slices(_ROWS):
            yield Seen(
                part[self._id_column],
                part["hour"].to_numpy(),
                part["source_partition"].cast(pl.Int64).to_numpy(),
                part["source_offset"].to_numpy(),
            )


def _hour() -> pl.Expr:
    return pl.col("event_time").to_physical() // _HOUR

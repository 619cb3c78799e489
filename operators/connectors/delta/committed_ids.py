"""What a table has committed, for those who have lost their own memory of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.commits import times_of_rows
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query, read
from operators.connectors.delta.table import Fence
from operators.connectors.redis.dedup_ids import Seen

_HOUR: Final = 3_600_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS: Final = 100_000


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
        reached = recorded(table, self._fence).offsets
        return {p: offset for (topic, p), offset in reached.items() if topic == self._topic}

    def newest(self) -> int | None:
        """Return the newest event hour in the table, or one past it; None if it is empty."""
        table = self._newest_version()
        if table is None:
            return None
        files = pl.DataFrame(table.get_add_actions(flatten=True))
        if files.height == 0:
            return None
        if "max.event_time" in files.columns and not files["max.event_time"].null_count():
            # Statistics are cut to milliseconds, which moves no time into another hour.
            times = files["max.event_time"]
        else:
            times = query(table, "SELECT max(event_time) AS newest FROM rows")["newest"]
        newest = times.cast(pl.Datetime("us", "UTC")).to_physical().max()
        return None if newest is None else int(newest) // _HOUR  # type: ignore[arg-type] # a number

    def latest(self) -> Iterator[Seen]:
        """Yield the first records of at least the last two commits."""
        table = self._newest_version()
        if table is None:
            return
        # A commit's rows are stamped behind the commit before, and before its own time.
        times = times_of_rows(table, 3)
        yield from self._parts(table, f"written_at >= {_time(times[2])}" if times[2:] else "")

    def first(self, hours: Sequence[int]) -> Iterator[Seen]:
        """Yield the first records of these event hours."""
        table = self._newest_version()
        if table is None or not hours:
            return
        begin = _EPOCH + timedelta(hours=min(hours))
        end = _EPOCH + timedelta(hours=max(hours) + 1)
        days = sorted({(_EPOCH + timedelta(hours=hour)).date().isoformat() for hour in hours})
        dates = ", ".join(f"DATE '{day}'" for day in days)
        yield from self._parts(
            table,
            f"event_date IN ({dates}) "
            f"AND event_time >= {_time(begin)} AND event_time < {_time(end)}",
            hours,
        )

    def _parts(
        self, table: DeltaTable, where: str, hours: Sequence[int] | None = None
    ) -> Iterator[Seen]:
        columns = (self._id_column, "event_time", "source_partition", "source_offset")
        found = read(table, columns, where).with_columns(
            hour=pl.col("event_time").to_physical() // _HOUR
        )
        if hours is not None:
            found = found.filter(pl.col("hour").is_in(list(hours)))
        for part in found.iter_slices(_ROWS):
            yield Seen(
                part[self._id_column],
                part["hour"].to_numpy(),
                part["source_partition"].cast(pl.Int64).to_numpy(),
                part["source_offset"].to_numpy(),
            )


def _time(time: datetime) -> str:
    return f"TIMESTAMP '{time.isoformat()}'"

"""A look at a table from outside of its flow: by its log and its files' statistics alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.commits import Commit, newest_commits, newest_fence
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import Fence, reaching
from operators.event_time.frontier import Frontier
from operators.records.tables import Table

HURRIED: Final = {"max_retries": "2", "retry_timeout": "5s", "connect_timeout": "3s"}
"""Options of an object store for who waits at a screen: by default a minute may go by."""

_FEW: Final = 20
_TIMES: Final = ("event_time", "window_end", "kafka_timestamp")


@dataclass(frozen=True)
class Look:
    """A table as it is.

    `written` is when its newest rows came, and `newest` the newest time of theirs: of an event,
    of a window's end, or of Kafka. `commits` are the newest ones, the newest first, and `frontier`
    is what it accounts for, of the flow's `partitions` as far as they are known.
    """

    table: Table
    handle: DeltaTable
    version: int
    files: int
    rows: int
    size: int
    written: datetime | None
    newest: datetime | None
    commits: list[Commit]
    frontier: Frontier
    statistics: pl.DataFrame

    def rows_since(self, since: datetime) -> int:
        """Return how many rows were written at a time or later; raises DeltaError.

        Of statistics alone, but where a file has some of before, too.
        """
        files, least, most = self.statistics, "min.written_at", "max.written_at"
        if not files.height or not {least, most} <= set(files.columns):
            return 0
        late = files.filter(pl.col(most) >= since)
        if (late[least] >= since).all():
            return _sum(late, "num_records")
        sql = f"SELECT count(*) FROM rows WHERE written_at >= '{since.isoformat()}'"  # noqa: S608 # a time
        return int(query(self.handle, sql).item())

    def small(self, target: int) -> int:
        """Return how many files are smaller than a target and have another such beside them."""
        files = self.statistics
        if not files.height:
            return 0
        folders = [name for name in files.columns if name.startswith("partition.")]
        small = files.filter(pl.col("size_bytes") < target)
        if folders:
            beside = small.group_by(folders).len()["len"]
            return int(beside.filter(beside > 1).sum())
        return small.height if small.height > 1 else 0


def look(
    root: str, table: Table, flow: str, partitions: list[tuple[str, int]], commits: int = _FEW
) -> Look | None:
    """Look at a table; None if it is not there. Raises StorageUnavailableError."""
    uri = table_uri(root, table.name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri, HURRIED):
            return None
        handle = DeltaTable(uri, storage_options=HURRIED)
        found = newest_commits(handle, commits)
        told = {name for each in found if each.flow == flow for name in each.fence}
        # Maintenance may have committed more often since than the flow.
        told = told or {*(newest_fence(handle, flow) or ())}
        known = [*Fence.told(flow, told).partitions, *partitions]
        frontier = recorded(handle, Fence(flow, sorted(set(known))))
        files = pl.DataFrame(handle.get_add_actions(flatten=True))
    return Look(
        table,
        handle,
        handle.version(),
        files.height,
        _sum(files, "num_records"),
        _sum(files, "size_bytes"),
        _max(files, "written_at") or next((c.at for c in found if c.rows), None),
        next(filter(None, (_max(files, name) for name in (*_TIMES, table.closes))), None),
        found,
        frontier,
        files,
    )


def _sum(files: pl.DataFrame, name: str) -> int:
    return int(files[name].sum()) if name in files.columns else 0


def _max(files: pl.DataFrame, name: str) -> datetime | None:
    column = f"max.{name}"
    if column not in files.columns:
        return None
    newest = files[column].max()
    return newest if isinstance(newest, datetime) and newest.tzinfo else None

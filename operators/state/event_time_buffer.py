"""The event-time buffer: rows held until the watermark has passed them, given back in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.columns.frames import in_one, stacked, taken
from operators.columns.hashing import hash_columns
from operators.columns.sorted_runs import SortedRuns
from operators.records.tables import LATENESS_US, TIME, late_columns
from operators.state.shards import Rows, of_shard, read, write

HASH: Final = "_hash"
TIME_US: Final = "_time"
PARTITION: Final = "_partition"
OFFSET: Final = "_offset"
INTERNAL: Final = (HASH, TIME_US, PARTITION, OFFSET)
"""Columns of a keyed row: the key's hash (UInt64), its event time in µs (Int64), its place."""

LATE_ROWS: Final = late_columns()
"""Columns of a late row: where the record stands, and the watermark it was late by."""

# A run costs little to look into, and its rows are gone soon: they are moved less often.
_RATIO: Final = 2


@dataclass(frozen=True)
class Side:
    """A stream that an operator keeps rows of, by key.

    `topic` names its source topic, `by` its key columns, `columns` what is kept of a row:
    output name to column. `types` are the types of all columns named. Rows need `event_time`
    and the coordinates as well, and `watermark` (the partition's before the row).
    """

    topic: str
    by: tuple[str, ...]
    columns: Mapping[str, str]
    types: Mapping[str, pl.DataType]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The output columns with their types."""
        return {name: self.types[column] for name, column in self.columns.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the key columns among those of `rows`."""
        outputs = {column: name for name, column in self.columns.items()}
        return tuple(outputs.get(by, f"_key{i}") for i, by in enumerate(self.by))

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame` as keyed rows: INTERNAL, the output columns and the keys."""
        keys = dict(zip(self.keys, self.by, strict=True))
        return frame.select(
            pl.Series(HASH, hash_columns(frame, self.by)),
            pl.col("event_time").to_physical().alias(TIME_US),
            pl.col("source_partition").cast(pl.Int32).alias(PARTITION),
            pl.col("source_offset").cast(pl.Int64).alias(OFFSET),
            *(pl.col(column).alias(name) for name, column in {**self.columns, **keys}.items()),
        )


def split_late(
    topic: str, rows: pl.DataFrame, watermarks: Int64s, lateness: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Split keyed rows into those in time, and the late ones as LATE_ROWS or None.

    A row is late if its event time plus `lateness` µs lies before its watermark, shape (n,) in
    µs: what is at the watermark may still come, as for windows.
    """
    late = rows[TIME_US].to_numpy() + lateness < watermarks
    if not late.any():
        return rows, None
    mask = pl.Series(late)
    judged = rows.filter(mask).select(
        pl.lit(topic).alias("source_topic"),
        pl.col(PARTITION).alias("source_partition"),
        pl.col(OFFSET).alias("source_offset"),
        pl.col(TIME_US).cast(TIME).alias("event_time"),
        pl.Series("watermark", watermarks[late]).cast(TIME),
    )
    return rows.filter(~mask), judged.with_columns(LATENESS_US)


def split_passed(
    topic: str, rows: pl.DataFrame, passed: int, floors: Mapping[int, int], lateness: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Split off the rows that the flow's watermark went past before they came, as LATE_ROWS.

    It has `passed` a time in µs for all of them, and stands at a floor for the partitions that
    slept.
    """
    if not floors and rows[TIME_US].to_numpy().min() + lateness >= passed:
        return rows, None
    partitions = rows[PARTITION].to_numpy()
    watermarks = np.full(len(partitions), passed, np.int64)
    for partition, floor in floors.items():
        watermarks[partitions == partition] = max(floor, passed)
    return split_late(topic, rows, watermarks, lateness)


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows sorted by time; `times` in µs and `new`, whether no entry has the row, are parallel."""

    times: Int64s
    rows: pl.DataFrame
    new: Bools

    @classmethod
    def sorted(cls, rows: pl.DataFrame, new: Bools) -> "_Run":
        """Return rows in any order as a run."""
        times = rows[TIME_US].to_numpy()
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, rows, new = times[order], taken(rows, order), new[order]
        return cls(times, rows, new)

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def merged(cls, runs: "Sequence[_Run]") -> "_Run":
        """Return runs as one."""
        rows = in_one(run.rows for run in runs)
        return cls.sorted(rows, np.concatenate([run.new for run in runs]))


class EventTimeBuffer:
    """Keyed rows that wait for the watermark.

    They are kept in runs sorted by time, so that taking what is due costs what is due and not
    what waits.
    """

    def __init__(self) -> None:
        self._runs = SortedRuns(_Run.merged, ratio=_RATIO)

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, rows: pl.DataFrame) -> None:
        """Keep keyed rows in any order."""
        self._runs.add(_Run.sorted(rows, np.ones(rows.height, bool)))

    def take(self, before: int, *, in_order: bool = True) -> pl.DataFrame | None:
        """Return and forget the rows before a time in µs, by (time, partition, offset).

        They are in any order where none is asked for.
        """
        due, left = [], []
        for run in self._runs:
            size = int(np.searchsorted(run.times, before))
            if size:
                due.append(run.rows.head(size))
                run = _Run(run.times[size:], run.rows.slice(size), run.new[size:])
            left.append(run)
        if not due:
            return None
        self._runs.replace(left)
        rows = stacked(due)
        if not in_order:
            return rows
        order = np.lexsort([rows[name].to_numpy() for name in (OFFSET, PARTITION, TIME_US)])
        return taken(rows, order)

    @property
    def changed(self) -> int:
        """How many rows are new since `settle`."""
        return sum(int(np.count_nonzero(run.new)) for run in self._runs)

    def head(self) -> dict[str, Any]:
        """Return nothing: all is in the rows."""
        return {}

    def changes(self) -> dict[str, Any]:
        """Return the rows that are new since `settle`."""
        return self._written([run.new for run in self._runs])

    def shard(self, shard: int) -> dict[str, Any]:
        """Return all rows of a shard."""
        return self._written([of_shard(run.rows[HASH].to_numpy(), shard) for run in self._runs])

    def _written(self, which: Sequence[Bools]) -> dict[str, Any]:
        return write([run.rows for run in self._runs], which)

    def settle(self) -> None:
        """Let no row count as new."""
        for run in self._runs:
            run.new[:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before, and with it what has been taken since."""
        self._runs.replace([])
        for rows, changed in read(found, HASH):
            self._runs.add(_Run.sorted(rows, np.full(rows.height, changed)))

"""Waiting: rows held until the watermark has passed them, given back in event-time order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import polars as pl

from operators.batches import NO_WATERMARK, Int64s
from operators.hashing import hash_columns
from operators.ipc import from_ipc, to_ipc
from operators.tables import COORDINATES, TIME

HASH: Final = "_hash"
TIME_US: Final = "_time"
PARTITION: Final = "_partition"
OFFSET: Final = "_offset"
INTERNAL: Final = (HASH, TIME_US, PARTITION, OFFSET)
"""Columns of a keyed row: the key's hash (UInt64), its event time in µs (Int64), its place."""

LATE_ROWS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "event_time": TIME,
    "watermark": TIME,
}
"""Columns of a late row: where the record stands, and the watermark it was late by."""

_RUNS: Final = 16


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
    return rows.filter(~mask), judged


def split_woken(
    topic: str, rows: pl.DataFrame, floors: Mapping[int, int], lateness: int
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Split off the rows of partitions that slept while the flow's watermark went on."""
    if not floors:
        return rows, None
    partitions = rows[PARTITION].to_numpy()
    watermarks = np.full(len(partitions), NO_WATERMARK, np.int64)
    for partition, floor in floors.items():
        watermarks[partitions == partition] = floor
    return split_late(topic, rows, watermarks, lateness)


class Waiting:
    """Keyed rows that wait for the watermark.

    They are kept in runs sorted by time, of which the smallest are joined when there are too
    many, so that taking what is due costs what is due and not what waits.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Int64s, pl.DataFrame]] = []

    def __len__(self) -> int:
        return sum(len(times) for times, _ in self._runs)

    def add(self, rows: pl.DataFrame) -> None:
        """Keep keyed rows in any order."""
        if rows.height == 0:
            return
        times = rows[TIME_US].to_numpy()
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, rows = times[order], rows[order]
        self._runs.append((times, rows))
        if len(self._runs) > _RUNS:
            self._runs.sort(key=lambda run: len(run[0]))
            small = pl.concat([rows for _, rows in self._runs[: _RUNS // 2]])
            del self._runs[: _RUNS // 2]
            self.add(small)

    def take(self, before: int) -> pl.DataFrame | None:
        """Return and forget the rows before a time in µs, by (time, partition, offset)."""
        due = []
        for i, (times, rows) in enumerate(self._runs):
            if times[0] < before:
                size = int(np.searchsorted(times, before))
                due.append(rows.head(size))
                self._runs[i] = times[size:], rows.slice(size)
        if not due:
            return None
        self._runs = [run for run in self._runs if len(run[0])]
        rows = pl.concat(due)
        order = np.lexsort([rows[name].to_numpy() for name in (OFFSET, PARTITION, TIME_US)])
        return rows[order]

    def dump(self) -> bytes | None:
        """Return the rows as Arrow IPC, None if there are none."""
        return to_ipc(*(rows for _, rows in self._runs))

    @classmethod
    def load(cls, state: bytes | None) -> Self:
        """Resume dumped rows."""
        waiting = cls()
        if state is not None:
            waiting.add(from_ipc(state))
        return waiting

"""Stages: an operator over all key groups, one call per activation.

A stage is given the rows and the progress of an activation together and first takes the rows,
so what a stage emits can be the next one's rows in the same call.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.hashing import hash_columns, key_groups
from operators.joins import IntervalJoin, OpenIntervals
from operators.records.batches import NO_WATERMARK, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import HASH
from operators.windows import OpenWindows, Windows

GROUPS: Final = 4


def split(rows: pl.DataFrame, hashes: Any) -> list[pl.DataFrame | None]:
    """Return each key group's rows, None where there are none."""
    group = key_groups(hashes, GROUPS)
    ordered = rows[np.argsort(group, kind="stable")]
    sizes = np.bincount(group, minlength=GROUPS)
    ends = np.cumsum(sizes)
    return [
        ordered.slice(int(end - size), int(size)) if size else None
        for size, end in zip(sizes, ends, strict=True)
    ]


class WindowStage:
    """Windows over all key groups."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._groups = [OpenWindows(windows) for _ in range(GROUPS)]

    def advance(
        self, progress: list[Progress], rows: pl.DataFrame | None
    ) -> pl.DataFrame | None:
        """Return the panes that are due, with the `by` columns and the aggregates.

        Raises ValueError if a record is late: the benchmark's never are.
        """
        parts: list[pl.DataFrame | None] = [None] * GROUPS
        if rows is not None and rows.height:
            marks: Int64s | None = None
            if "watermark" not in rows.columns:
                # Another stage's results, which come with the progress that made them.
                marks = np.full(rows.height, NO_WATERMARK)
                rows = rows.with_columns(
                    pl.lit(None, TIME).alias("watermark"),
                    pl.lit(0, pl.Int32).alias("source_partition"),
                    pl.lit(0, pl.Int64).alias("source_offset"),
                )
            judged = self._windows.judge(rows, marks)
            if judged.late is not None:
                raise ValueError("late records")
            parts = split(judged.rows, hash_columns(judged.rows, self._windows.by[:1]))
        found = [
            closed.panes
            for group, part in zip(self._groups, parts, strict=True)
            if (closed := group.advance(progress, part)).panes is not None
        ]
        return pl.concat([f for f in found if f is not None]) if found else None


class JoinStage:
    """An interval join over all key groups."""

    def __init__(self, join: IntervalJoin, partitions: dict[str, int]) -> None:
        self._join = join
        self._groups = [OpenIntervals(join, partitions) for _ in range(GROUPS)]

    def advance(
        self, progress: list[Progress], left: pl.DataFrame | None, right: pl.DataFrame | None
    ) -> pl.DataFrame | None:
        """Return the pairs that are settled."""
        lefts = self._parts(self._join.left.rows, left)
        rights = self._parts(self._join.right.rows, right)
        found = [
            joined.rows
            for group, ours, theirs in zip(self._groups, lefts, rights, strict=True)
            if (joined := group.advance(progress, ours, theirs)).rows is not None
        ]
        return pl.concat([f for f in found if f is not None]) if found else None

    @staticmethod
    def _parts(
        make: Callable[[pl.DataFrame], pl.DataFrame], rows: pl.DataFrame | None
    ) -> list[pl.DataFrame | None]:
        if rows is None or rows.height == 0:
            return [None] * GROUPS
        if "source_offset" not in rows.columns:
            rows = rows.with_columns(
                pl.lit(0, pl.Int32).alias("source_partition"),
                pl.lit(0, pl.Int64).alias("source_offset"),
            )
        keyed = make(rows)
        return split(keyed, keyed[HASH].to_numpy())

"""Windows: records to their key groups, panes out when the flow's watermark passes."""

from dataclasses import dataclass
from typing import Any, Final

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators import metrics
from operators.batches import NO_WATERMARK, Batch, Progress, merge
from operators.hashing import hash_strings, key_groups
from operators.tables import COORDINATES, TIME
from operators.windows import OpenWindows, Windows, as_times

LATE_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "payment_id": pl.String(),
    "terminal_id": pl.String(),
    "event_time": TIME,
    "window_start": TIME,
    "window_end": TIME,
    "watermark": TIME,
}


@dataclass(frozen=True)
class WindowOut:
    """Streams of `window`: frames of panes, and frames of `LATE_COLUMNS`."""

    panes: Stream[pl.DataFrame]
    late: Stream[pl.DataFrame]


@dataclass(frozen=True, slots=True)
class _Slice:
    """What one activation brings to a key group: everyone's progress, and its own rows."""

    progress: list[Progress]
    rows: pl.DataFrame | None


def _late(rows: pl.DataFrame) -> pl.DataFrame:
    return as_times(rows).select(*LATE_COLUMNS)


def assign(
    batches: list[Batch], windows: Windows, groups: int
) -> list[tuple[str, _Slice | pl.DataFrame]]:
    """Return a slice for each key group, and under the key "late" what is late.

    The key group is that of the first `by` column. Every group gets every partition's
    progress, so that a key that falls silent still closes.
    """
    progress = [batch.progress for batch in batches]
    empty: list[tuple[str, _Slice | pl.DataFrame]] = [
        (str(group), _Slice(progress, None)) for group in range(groups)
    ]
    frame = merge(batches)
    if frame.height == 0:
        return empty
    needed = {*windows.inputs, *LATE_COLUMNS} - {"window_start", "window_end"}
    rows = windows.assign(frame.select(sorted(needed)))
    watermark = rows["watermark"].to_physical().fill_null(NO_WATERMARK)
    late = rows["closes"] <= watermark
    result = empty
    if late.any():
        result.append(("late", _late(rows.filter(late))))
        rows = rows.filter(~late)
    group = key_groups(hash_strings(rows[windows.by[0]]), groups)
    rows = rows[np.argsort(group, kind="stable")]
    start = 0
    for index, size in enumerate(np.bincount(group, minlength=groups)):
        if size:
            result[index] = (str(index), _Slice(progress, rows.slice(start, size)))
        start += int(size)
    return result


class _GroupLogic(StatefulBatchLogic[_Slice, tuple[bool, pl.DataFrame], dict[str, Any]]):
    def __init__(self, windows: Windows, state: dict[str, Any] | None) -> None:
        self._open = OpenWindows(windows) if state is None else OpenWindows.load(windows, state)

    def on_batch(self, values: list[_Slice]) -> tuple[list[tuple[bool, pl.DataFrame]], bool]:
        rows = [each.rows for each in values if each.rows is not None]
        progress = [each for value in values for each in value.progress]
        joined = rows[0] if len(rows) == 1 else pl.concat(rows) if rows else None
        closed = self._open.advance(progress, joined)
        result = []
        if closed.panes is not None:
            result.append((True, closed.panes))
        if closed.late is not None:
            result.append((False, _late(closed.late)))
        return result, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return self._open.dump()


@operator
def window(step_id: str, up: Stream[Batch], windows: Windows, groups: int) -> WindowOut:
    """Aggregate records in `windows`, keyed by key group."""

    def is_slice(item: tuple[str, _Slice | pl.DataFrame]) -> bool:
        return item[0] != "late"

    def count(items: list[pl.DataFrame], counter: Any) -> list[pl.DataFrame]:
        counter.labels(step_id).inc(sum(frame.height for frame in items))
        return items

    assigned = op.flat_map_batch("assign", up, lambda batches: assign(batches, windows, groups))
    sides = op.branch("in_time", assigned, is_slice)
    keyed: Any = sides.trues
    closed = op.stateful_batch("open", keyed, lambda state: _GroupLogic(windows, state))
    results = op.branch("closed", op.key_rm("pane", closed), lambda item: item[0])
    panes = op.map("panes", results.trues, lambda item: item[1])
    woken = op.map("woken", results.falses, lambda item: item[1])
    too_late: Stream[Any] = op.map("late", sides.falses, lambda item: item[1])
    late = op.merge("all_late", too_late, woken)
    return WindowOut(
        op.flat_map_batch("count_panes", panes, lambda items: count(items, metrics.WINDOWS)),
        op.flat_map_batch("count_late", late, lambda items: count(items, metrics.LATE)),
    )

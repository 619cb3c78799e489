"""Windows: records to their key groups, panes out when the flow's watermark passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators import metrics
from operators.columns.frames import stacked
from operators.metrics import observe_state
from operators.records.batches import Batch, merge
from operators.records.tables import LATENESS_US, MISSED, TIME, late_columns
from operators.steps.routing import LATE, Routed, add_rows, to_all_groups
from operators.windows import (
    KEY_HASH,
    Aggregate,
    Due,
    Duration,
    Emission,
    Intake,
    OpenCount,
    Session,
    Sliding,
    Windows,
    Work,
    as_times,
    load_panes,
    micros,
    new_panes,
)  # fmt: skip


@dataclass(frozen=True)
class WindowOut:
    """Streams of `window`: frames of panes, and frames of late records, see `MISSED`."""

    panes: Stream[pl.DataFrame]
    late: Stream[pl.DataFrame]


@dataclass(frozen=True, slots=True)
class _Task:
    """What an intake has for the panes of a slot, whose key is `key`."""

    key: str
    work: Work


_Item = tuple[str, Routed | _Task | pl.DataFrame]


def late_rows(step: str, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return `Judged.late` as late records told by `names`; columns that it lacks are null."""
    columns = late_columns(names, MISSED)
    lacking = columns.keys() - {*rows.columns, "step", "lateness_us"}
    return (
        as_times(rows)
        .with_columns(
            pl.lit(step).alias("step"),
            LATENESS_US,
            pl.col("watermark").cast(TIME),
            *(pl.lit(None, columns[name]).alias(name) for name in lacking),
        )
        .select(*columns)
    )


def assign(
    batches: list[Batch],
    windows: Windows,
    groups: int,
    step: str = "",
    told: Sequence[str] = (),
) -> list[tuple[str, Routed | pl.DataFrame]]:
    """Return what each key group gets, and under the key LATE what is late.

    `told` are the columns that late records are told by.
    """
    routed = to_all_groups([batch.progress for batch in batches], groups)
    frame = merge(batches)
    if frame.height == 0:
        return [*routed]
    needed = {*windows.reads, *late_columns(told), "watermark"}
    judged = windows.judge(frame[[name for name in frame.columns if name in needed]])
    add_rows(routed, judged.marked, judged.marked[KEY_HASH].to_numpy(), judged.counts)
    missed = [] if judged.late is None else [(LATE, late_rows(step, judged.late, told))]
    return [*routed, *missed]


class _IntakeLogic(StatefulBatchLogic[Routed, _Item, dict[str, Any]]):
    def __init__(
        self,
        step: str,
        windows: Windows,
        told: Sequence[str],
        counting: OpenCount,
        state: dict[str, Any] | None,
    ) -> None:
        self._step, self._windows, self._told, self._group = step, windows, told, ""
        self._intake = Intake(windows) if state is None else Intake.load(windows, state)
        self._counting = counting
        counting.hold(self, self._intake.spans)

    def on_batch(self, values: list[Routed]) -> tuple[list[_Item], bool]:
        self._group, self._intake.group = str(values[0].group), values[0].group
        rows = [each.rows for each in values if each.rows is not None]
        progress = [each for value in values for each in value.progress]
        joined = rows[0] if len(rows) == 1 else stacked(rows) if rows else None
        work, late = self._intake.advance(progress, joined)
        result: list[_Item] = []
        for each in work:
            key = self._group if self._windows.slots == 1 else f"{self._group}/{each.slot}"
            result.append((key, _Task(key, each)))
        if late is not None:
            result.append((LATE, late_rows(self._step, late, self._told)))
        return result, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        state = self._intake.dump()
        self._counting.hold(self, self._intake.spans)
        observe_state(f"{self._step}.intake", self._group, self._intake.rows, state)
        return state


class _PanesLogic(StatefulBatchLogic[_Task, Due, dict[str, Any]]):
    def __init__(
        self, step: str, windows: Windows, counting: OpenCount, state: dict[str, Any] | None
    ) -> None:
        self._step, self._key, self._counting = step, "", counting
        self._panes = new_panes(windows) if state is None else load_panes(windows, state)
        counting.keep(self, self._panes.spans)

    def on_batch(self, values: list[_Task]) -> tuple[list[Due], bool]:
        self._key = values[0].key
        dues = [self._panes.advance(v.work.rows, v.work.watermark) for v in values]
        empty = self._panes.rows == 0
        if empty:
            observe_state(f"{self._step}.panes", self._key, 0, {})
            self._counting.keep(self, self._panes.spans)
        # What holds nothing leaves nothing behind.
        return [due for due in dues if due is not None], empty

    def snapshot(self) -> dict[str, Any]:
        state = self._panes.dump()
        self._counting.keep(self, self._panes.spans)
        observe_state(f"{self._step}.panes", self._key, self._panes.rows, state)
        return state


@operator
def window(
    step_id: str, up: Stream[Batch], windows: Windows, groups: int, told: Sequence[str]
) -> WindowOut:
    """Aggregate records in `windows`, keyed by key group; `told` is as of `late_columns`."""

    def is_late(item: _Item) -> bool:
        return item[0] == LATE

    def close(dues: list[Due]) -> list[pl.DataFrame]:
        made = closing.close(dues)
        if made is None:
            return []
        closed.inc(made.height)
        return [as_times(made)]

    def count_late(items: list[pl.DataFrame]) -> list[pl.DataFrame]:
        counted.inc(sum(frame.height for frame in items))
        return items

    name = step_id.rpartition(".")[2]
    closing = Emission(windows)
    counting = OpenCount(windows, groups, metrics.OPEN_WINDOWS.labels(name).set)
    closed, counted = metrics.WINDOWS.labels(name), metrics.LATE.labels(name)
    assigned = op.flat_map_batch(
        "assign", up, lambda batches: assign(batches, windows, groups, name, told)
    )
    judged = op.branch("judged", assigned, is_late)
    slices: Any = judged.falses
    taken = op.stateful_batch(
        "intake", slices, lambda s: _IntakeLogic(name, windows, told, counting, s)
    )
    woken = op.branch("woken", op.key_rm("work", taken), is_late)
    work: Any = woken.falses
    panes = op.stateful_batch("panes", work, lambda s: _PanesLogic(name, windows, counting, s))
    late: Stream[Any] = op.merge("late", judged.trues, woken.trues)
    return WindowOut(
        op.flat_map_batch("close", op.key_rm("due", panes), close),
        op.flat_map_batch(
            "count_late", op.map("late_rows", late, lambda item: item[1]), count_late
        ),
    )


def aggregate(
    step_id: str,
    up: Stream[Batch],
    *,
    by: Sequence[str],
    window: Sliding | Session,
    aggs: Mapping[str, Aggregate],
    lateness: Duration = 0,
    revisions: int = 1,
    early: Duration = 0,
    groups: int = 16,
    told: Sequence[str] = (),
) -> WindowOut:
    """Aggregate records per window and value of the `by` columns.

    For example ``aggregate("per_terminal", up, by=["terminal_id"], window=tumbling("1m"),
    aggs={"payments": agg.count()})``. See `Windows` for what the panes hold; `groups` is the
    number of key groups, which a running flow keeps; `told` are texts of a record's own by which
    those that are late are told.
    """
    windows = Windows(tuple(by), window, aggs, micros(lateness), revisions, micros(early))
    return _window(step_id, up, windows, groups, told)


_window = window

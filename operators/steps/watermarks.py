"""Watermarks: each source partition's, before every record and behind every batch."""

import time
from typing import Any, Final

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators import shown
from operators.columns.times import in_micros
from operators.event_time.watermarks import Bounds, Idleness, PartitionWatermark, ended
from operators.records.batches import NO_WATERMARK, Batch, Progress, merge
from operators.records.tables import TIME

STATE_VERSION: Final = 2


class Clock:
    """The clock's side of a partition: how far its watermark is behind, and whether it is idle.

    `heard` is the wall time in s of its last event as `heard()` gave it for recovery; with None
    it is silent from now on. In between a clock counts that nobody sets and that stands still
    while the machine sleeps.
    """

    def __init__(self, idle_timeout: float, heard: float | None) -> None:
        quiet = 0.0 if heard is None else max(time.time() - heard, 0.0)
        self._idleness = Idleness(idle_timeout, time.monotonic(), quiet)
        self._shown: shown.Watermark | None = None

    def judge(self, progress: Progress, watermark: int, events: int) -> Progress:
        """Return a partition's progress with its watermark in µs, and whether it is idle."""
        if not ended(progress.watermark):
            progress = progress.at(watermark)
        if self._shown is None:
            self._shown = shown.Watermark(progress.topic, progress.partition)
        if watermark != NO_WATERMARK:
            self._shown.at(watermark / 1e6)
        return self._idleness.judge(progress, events, time.monotonic())

    def heard(self) -> float:
        """Return the wall time in s of the last event."""
        return time.time() - self._idleness.quiet(time.monotonic())


class _PartitionLogic(StatefulBatchLogic[Batch, Batch, dict[str, Any]]):
    def __init__(
        self, bound: int | Bounds, idle_timeout: float, state: dict[str, Any] | None
    ) -> None:
        state = state or {"version": STATE_VERSION, "largest": NO_WATERMARK}
        if state["version"] not in (1, STATE_VERSION):
            raise ValueError(f"watermarks of state version {state['version']}")
        told = state.get("told", NO_WATERMARK)
        floor = state.get("floor", NO_WATERMARK)
        self._mark = PartitionWatermark(
            bound, state["largest"], told, state.get("bound"), floor
        )
        # Version 1 did not tell when the last event came.
        self._clock = Clock(idle_timeout, state.get("heard"))

    def on_batch(self, values: list[Batch]) -> tuple[list[Batch], bool]:
        frame = merge(values)
        times = in_micros(frame["event_time"])
        if "watermark" in frame.columns:
            self._mark.retrace(times, in_micros(frame["watermark"]), frame)
        else:
            self._mark.settle()
            before = self._mark.advance(times, frame)
            marks = pl.Series("watermark", before)
            frame = frame.with_columns(marks.set(marks == NO_WATERMARK, None).cast(TIME))
        progress = self._clock.judge(values[-1].progress, self._mark.current, frame.height)
        return [Batch(progress, frame)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "largest": self._mark.largest,
            "told": self._mark.told,
            "bound": self._mark.bound,
            "floor": self._mark.floor,
            "heard": self._clock.heard(),
        }


@operator
def watermarks(
    step_id: str, up: Stream[Batch], out_of_orderness: int | Bounds, idle_timeout: float
) -> Stream[Batch]:
    """Add `watermark`, the partition's before each record, and say which partition is idle.

    Records of the past have it already. `out_of_orderness` is in µs, `idle_timeout` in s.
    """
    keyed = op.key_on("partition", up, lambda b: f"{b.progress.topic}/{b.progress.partition}")
    done = op.stateful_batch(
        "mark", keyed, lambda state: _PartitionLogic(out_of_orderness, idle_timeout, state)
    )
    return op.key_rm("batch", done)

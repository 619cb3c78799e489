"""Watermarks: each source partition's, before every record and behind every batch."""

import time
from typing import Any, Final

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators import metrics
from operators.batches import NO_WATERMARK, Batch, merge
from operators.tables import TIME
from operators.times import in_micros
from operators.watermarks import PartitionWatermark, ended

STATE_VERSION: Final = 1


class _PartitionLogic(StatefulBatchLogic[Batch, Batch, dict[str, Any]]):
    def __init__(self, bound: int, state: dict[str, Any] | None) -> None:
        if state is not None and state["version"] != STATE_VERSION:
            raise ValueError(f"watermarks of state version {state['version']}")
        self._mark = PartitionWatermark(bound, state["largest"] if state else NO_WATERMARK)

    def on_batch(self, values: list[Batch]) -> tuple[list[Batch], bool]:
        frame = merge(values)
        before = self._mark.advance(in_micros(frame["event_time"]))
        marks = pl.Series("watermark", before)
        marks = marks.set(marks == NO_WATERMARK, None).cast(TIME)
        progress, current = values[-1].progress, self._mark.current
        if not ended(progress.watermark):
            progress = progress.at(current)
        if current != NO_WATERMARK:
            lag = metrics.WATERMARK_LAG.labels(progress.topic, progress.partition)
            lag.set(time.time() - current / 1e6)
        return [Batch(progress, frame.with_columns(marks))], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "largest": self._mark.largest}


@operator
def watermarks(step_id: str, up: Stream[Batch], out_of_orderness: int) -> Stream[Batch]:
    """Add `watermark`, the partition's before each record; `out_of_orderness` is in µs."""
    keyed = op.key_on("partition", up, lambda b: f"{b.progress.topic}/{b.progress.partition}")
    done = op.stateful_batch("mark", keyed, lambda s: _PartitionLogic(out_of_orderness, s))
    return op.key_rm("batch", done)

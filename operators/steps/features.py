"""Features: each source partition's watermark and card features, in offset order."""

import time
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators import metrics
from operators.batches import NO_WATERMARK, Batch, merge
from operators.features import CardFeatures
from operators.watermarks import ended


class _PartitionLogic(StatefulBatchLogic[Batch, Batch, dict[str, Any]]):
    def __init__(self, step: str, out_of_orderness: int, state: dict[str, Any] | None) -> None:
        self._step, self._key = step, ""
        self._features = (
            CardFeatures(out_of_orderness)
            if state is None
            else CardFeatures.load(out_of_orderness, state)
        )

    def on_batch(self, values: list[Batch]) -> tuple[list[Batch], bool]:
        frame = self._features.advance(merge(values))
        progress = values[-1].progress
        self._key = f"{progress.topic}/{progress.partition}"
        watermark = self._features.watermark.current
        if not ended(progress.watermark):
            progress = progress.at(watermark)
        if watermark != NO_WATERMARK:
            metrics.WATERMARK_LAG.labels(progress.topic, progress.partition).set(
                time.time() - watermark / 1e6
            )
        return [Batch(progress, frame)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        state = self._features.dump()
        metrics.observe_state(self._step, self._key, self._features.rows, state)
        return state


@operator
def features(step_id: str, up: Stream[Batch], out_of_orderness: int) -> Stream[Batch]:
    """Add `watermark` and the card features; `out_of_orderness` is in µs."""
    keyed = op.key_on("partition", up, lambda b: f"{b.progress.topic}/{b.progress.partition}")
    name = step_id.rpartition(".")[2]
    done = op.stateful_batch(
        "cards", keyed, lambda s: _PartitionLogic(name, out_of_orderness, s)
    )
    return op.key_rm("batch", done)

"""Features: each source partition's watermark and card features, in offset order."""

import time

import bytewax.operators as op
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.batches import NO_WATERMARK, Batch, merge
from operators.features import CardFeatures
from operators.steps.kept import Keeping, KeptLogic, write_parts
from operators.watermarks import ended


class _PartitionLogic(KeptLogic[Batch, CardFeatures]):
    def key(self, value: Batch) -> str:
        return _key(value)

    def advance(self, state: CardFeatures, values: list[Batch]) -> list[Batch]:
        frame = state.advance(merge(values))
        progress = values[-1].progress
        watermark = state.watermark.current
        if not ended(progress.watermark):
            progress = progress.at(watermark)
        if watermark != NO_WATERMARK:
            metrics.WATERMARK_LAG.labels(progress.topic, progress.partition).set(
                time.time() - watermark / 1e6
            )
        return [Batch(progress, frame)]


def _key(batch: Batch) -> str:
    return f"{batch.progress.topic}/{batch.progress.partition}"


@operator
def features(step_id: str, up: Stream[Batch], out_of_orderness: int) -> Stream[Batch]:
    """Add `watermark` and the card features; `out_of_orderness` is in µs."""
    keeping = Keeping(step_id.rpartition(".")[2], lambda: CardFeatures(out_of_orderness))
    keyed = op.key_on("partition", up, _key)
    worked = op.stateful_batch("cards", keyed, lambda head: _PartitionLogic(keeping, head))
    return write_parts("kept", worked, keeping)

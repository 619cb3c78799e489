"""Features: each source partition's watermark and features, in offset order."""

from collections.abc import Callable
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Stream, operator

from operators.features import PartitionFeatures
from operators.records.batches import Batch, merge
from operators.steps.snapshots import KeyedStates, SnapshotLogic, write_shards
from operators.steps.watermarks import Clock


class _PartitionLogic(SnapshotLogic[Batch, PartitionFeatures]):
    def __init__(
        self,
        keeping: KeyedStates[PartitionFeatures],
        idle_timeout: float,
        head: dict[str, Any] | None,
    ) -> None:
        super().__init__(keeping, head)
        # Heads once did not tell when the last event came.
        self._clock = Clock(idle_timeout, None if head is None else head.get("heard"))

    def key(self, value: Batch) -> str:
        return _key(value)

    def advance(self, state: PartitionFeatures, values: list[Batch]) -> list[Batch]:
        frame = state.advance(merge(values))
        watermark = state.watermark.current
        progress = self._clock.judge(values[-1].progress, watermark, frame.height)
        return [Batch(progress, frame)]

    def snapshot(self) -> dict[str, Any]:
        return super().snapshot() | {"heard": self._clock.heard()}


def _key(batch: Batch) -> str:
    return f"{batch.progress.topic}/{batch.progress.partition}"


@operator
def features(
    step_id: str, up: Stream[Batch], make: Callable[[], PartitionFeatures], idle_timeout: float
) -> Stream[Batch]:
    """Add `watermark` and features, and say which partition is idle.

    `make` returns what works them out for a partition; `idle_timeout` is in s.
    """
    keeping = KeyedStates(step_id.rpartition(".")[2], make)
    keyed = op.key_on("partition", up, _key)
    worked = op.stateful_batch(
        "cards", keyed, lambda head: _PartitionLogic(keeping, idle_timeout, head)
    )
    return write_shards("kept", worked, keeping)

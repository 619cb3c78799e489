"""Settled: how far a flow of several topics has come, for topics that get what it settles."""

from collections.abc import Mapping
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators.event_time.multi_topic import MultiTopicWatermark
from operators.records.batches import Batch, Progress

STATE_VERSION: Final = 1

WATERMARK: Final = "watermark"
"""What stands for the topic of a message's source where a watermark has made it, not a record."""


class _MarkLogic(StatefulBatchLogic[Progress, Progress, dict[str, Any]]):
    def __init__(self, partitions: Mapping[str, int], state: dict[str, Any] | None) -> None:
        self._flow = MultiTopicWatermark(partitions)
        if state is not None:
            if state["version"] != STATE_VERSION:
                raise ValueError(f"a flow's watermark of state version {state['version']}")
            self._flow = MultiTopicWatermark.thaw(partitions, state["flow"])

    def on_batch(self, values: list[Progress]) -> tuple[list[Progress], bool]:
        for each in values:
            self._flow.observe(each)
        mark = Progress(WATERMARK, 0, 1, self._flow.current)
        return [mark], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return {"version": STATE_VERSION, "flow": self._flow.freeze()}


@operator
def settled(step_id: str, up: Stream[Batch], partitions: Mapping[str, int]) -> Stream[Progress]:
    """Return the flow's watermark in µs, as the offset of a partition 0 of WATERMARK.

    What is settled by then will not be made again. `partitions` is each topic's number of them.
    """
    keyed = op.map("progress", up, lambda batch: (WATERMARK, batch.progress))
    marks = op.stateful_batch("mark", keyed, lambda state: _MarkLogic(partitions, state))
    return op.key_rm("marks", marks)

"""The watermark over several topics: the minimum over all of their partitions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from operators.event_time.watermarks import FlowWatermark
from operators.records.batches import Progress


class MultiTopicWatermark:
    """A `FlowWatermark` over the partitions of several topics.

    It stays at NO_WATERMARK until every partition of every topic was heard of. A topic whose
    partitions are all idle stops holding the others back, as one idle partition does.
    """

    def __init__(self, partitions: Mapping[str, int]) -> None:
        """`partitions` is the number of partitions of each topic."""
        self._sizes = dict(partitions)
        self._first: dict[str, int] = {}
        total = 0
        for topic, size in sorted(partitions.items()):
            self._first[topic] = total
            total += size
        self._total = total
        self._flow = FlowWatermark()

    def observe(self, progress: Progress) -> None:
        """Take a partition's newest progress, before any of its rows are judged.

        Raises KeyError for a topic not announced.
        """
        number = self._first[progress.topic] + progress.partition
        self._flow.observe(replace(progress, partition=number, partitions=self._total))

    @property
    def current(self) -> int:
        """The watermark in µs; NO_WATERMARK until every partition was heard of."""
        return self._flow.current

    @property
    def waits_for(self) -> Progress | None:
        """The partition that the flow's watermark waits for; see FlowWatermark."""
        found = self._flow.waits_for
        return None if found is None else self._own(found)

    @property
    def seen(self) -> Iterable[Progress]:
        """The partitions' newest progress."""
        return map(self._own, self._flow.seen)

    def _own(self, progress: Progress) -> Progress:
        """Return progress with the topic's own number and count of partitions."""
        _, partition = self._place(progress.partition)
        return replace(progress, partition=partition, partitions=self._sizes[progress.topic])

    def floors(self, topic: str) -> dict[int, int]:
        """Return a topic's partitions that have a floor, and it in µs; see FlowWatermark."""
        if not self._flow.floors or topic not in self._first:
            return {}
        first, size = self._first[topic], self._sizes[topic]
        return {
            number - first: floor
            for number, floor in self._flow.floors.items()
            if first <= number < first + size
        }

    def _place(self, number: int) -> tuple[str, int]:
        topic = max(
            (t for t, first in self._first.items() if first <= number and self._sizes[t]),
            key=self._first.__getitem__,
        )
        return topic, number - self._first[topic]

    def freeze(self) -> dict[str, Any]:
        """Lift the idle partitions' floors and return the state; call at snapshots only."""
        state = self._flow.freeze()
        return {
            "seen": [
                (topic, self._place(number)[1], self._sizes[topic], watermark)
                for topic, number, _, watermark in state["seen"]
            ],
            "floors": [(*self._place(n), floor) for n, floor in state["floors"].items()],
            "current": state["current"],
        }

    @classmethod
    def thaw(cls, partitions: Mapping[str, int], state: Mapping[str, Any]) -> Self:
        """Resume from a frozen state; no partition is idle until it is judged so again."""
        joint = cls(partitions)
        total = joint._total
        joint._flow = FlowWatermark.thaw(
            {
                "seen": [
                    (topic, joint._first[topic] + partition, total, watermark)
                    for topic, partition, _, watermark in state["seen"]
                ],
                "floors": {
                    joint._first[topic] + partition: floor
                    for topic, partition, floor in state["floors"]
                },
                "current": state["current"],
            }
        )
        return joint

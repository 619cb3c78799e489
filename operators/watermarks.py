"""Watermarks: how far event time has come, per source partition and for the flow."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from operators.batches import END_OF_INPUT, NO_WATERMARK, Int64s, Progress


class PartitionWatermark:
    """A partition's watermark: its largest event time minus the bounded out-of-orderness.

    It depends on the partition's records alone, so every replay computes the same. `bound`
    is in µs; `largest` resumes an earlier one.
    """

    def __init__(self, bound: int, largest: int = NO_WATERMARK) -> None:
        self.bound = bound
        self.largest = largest

    @property
    def current(self) -> int:
        """The watermark in µs, NO_WATERMARK before the first event."""
        return NO_WATERMARK if self.largest == NO_WATERMARK else self.largest - self.bound

    def advance(self, event_times: Int64s) -> Int64s:
        """Take n event times in offset order; return the watermark before each, shape (n,)."""
        if len(event_times) == 0:
            return event_times
        largest = np.maximum.accumulate(np.concatenate(([self.largest], event_times)))
        self.largest = int(largest[-1])
        before = largest[:-1]
        return np.where(before == NO_WATERMARK, NO_WATERMARK, before - self.bound)


class FlowWatermark:
    """The flow's watermark: the minimum over the source's partitions.

    It decides when a window is emitted, never what is in it. An idle partition stops holding
    the others back: from the next epoch on it stands at its `floor`, the minimum of the
    others as of the last snapshot. Floors change at snapshots only, where everyone has seen
    the same progress, so every key group and every sink comes to the same value, also when
    an epoch is replayed.
    """

    def __init__(self) -> None:
        self._seen: dict[int, Progress] = {}
        self._floors: dict[int, int] = {}
        self._entry = NO_WATERMARK

    def observe(self, progress: Progress) -> None:
        """Take a partition's newest progress, before any of its rows are judged.

        A partition that was added to the topic joins at its own floor, or at the watermark of
        the snapshot that the flow resumed from: what had closed by then stays closed.
        """
        entry = max(self._entry, progress.floor)
        if entry != NO_WATERMARK and progress.partition not in self._seen:
            self._floors[progress.partition] = max(entry, self.floor(progress.partition))
        self._seen[progress.partition] = progress

    @property
    def _complete(self) -> bool:
        """Whether every partition was heard of; a topic may have grown since some were."""
        return len(self._seen) >= max((p.partitions for p in self._seen.values()), default=1)

    def floor(self, partition: int) -> int:
        """Return the watermark in µs that a partition woken from idleness has to respect."""
        return self._floors.get(partition, NO_WATERMARK)

    @property
    def floors(self) -> Mapping[int, int]:
        """The partitions that have a floor, and it in µs."""
        return self._floors

    def _of(self, progress: Progress) -> int:
        return max(progress.watermark, self.floor(progress.partition))

    @property
    def current(self) -> int:
        """The flow's watermark in µs; NO_WATERMARK until every partition was heard of."""
        if not self._complete:
            return NO_WATERMARK
        return min(map(self._of, self._seen.values()))

    def freeze(self) -> dict[str, Any]:
        """Lift the idle partitions' floors and return the state; call at snapshots only."""
        awake = [self._of(p) for p in self._seen.values() if not p.idle]
        if awake and self._complete:
            for partition, progress in self._seen.items():
                if progress.idle:
                    self._floors[partition] = max(min(awake), self.floor(partition))
        return {
            "seen": [
                (p.topic, p.partition, p.partitions, p.watermark) for p in self._seen.values()
            ],
            "floors": dict(self._floors),
            "current": self.current,
        }

    @classmethod
    def thaw(cls, state: Mapping[str, Any]) -> Self:
        """Resume from a frozen state; no partition is idle until the source says so again."""
        flow = cls()
        for topic, partition, partitions, watermark in state["seen"]:
            flow.observe(Progress(topic, partition, partitions, watermark=watermark))
        flow._floors.update(state["floors"])
        flow._entry = state.get("current", NO_WATERMARK)
        return flow


def ended(watermark: int) -> bool:
    """Tell whether a watermark is the one behind a bounded input's last record."""
    return watermark >= END_OF_INPUT

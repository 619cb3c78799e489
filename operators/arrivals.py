"""Arrivals: keyed rows of one or more topics, given back as the flow's watermark passes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from operators.batches import NO_WATERMARK, Progress
from operators.joint import JointWatermark
from operators.waiting import Waiting, split_woken


class Arrivals:
    """A key group's rows that wait, one `Waiting` per side, and the flow's watermark over all.

    `lateness` µs are added to the time that the watermark takes to pass a row.
    """

    def __init__(
        self, partitions: Mapping[str, int], topics: Sequence[str], lateness: int
    ) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads.

        `topics` names each side's topic.
        """
        self._partitions = dict(partitions)
        self._topics, self._lateness = tuple(topics), lateness
        self._waiting = [Waiting() for _ in topics]
        self._due = NO_WATERMARK
        self.flow = JointWatermark(partitions)

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def add(self, progress: list[Progress], *sides: pl.DataFrame | None) -> pl.DataFrame | None:
        """Take the partitions' progress and each side's keyed rows; return the late ones.

        The rows must not be late by their own partition's watermark. Late, as LATE_ROWS or
        None, are those of partitions that had been idle while the flow's watermark went on.
        """
        for each in progress:
            self.flow.observe(each)
        late = []
        for topic, rows, waiting in zip(self._topics, sides, self._waiting, strict=True):
            if rows is not None and rows.height:
                floors = self.flow.floors(topic)
                kept, woken = split_woken(topic, rows, floors, self._lateness)
                waiting.add(kept)
                if woken is not None:
                    late.append(woken)
        return pl.concat(late) if late else None

    def passed(self) -> tuple[int, list[pl.DataFrame | None]] | None:
        """Return the time in µs that is settled now, and each side's rows before it.

        The rows come once, by (time, partition, offset). None where the watermark stands still.
        """
        due = self.flow.current - self._lateness
        if due <= self._due:
            return None
        self._due = due
        return due, [waiting.take(due) for waiting in self._waiting]

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery; freezes the flow's watermark."""
        return {
            "flow": self.flow.freeze(),
            "due": self._due,
            "waiting": [waiting.dump() for waiting in self._waiting],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up a dumped state."""
        self.flow = JointWatermark.thaw(self._partitions, state["flow"])
        self._due = state["due"]
        self._waiting = [Waiting.load(each) for each in state["waiting"]]

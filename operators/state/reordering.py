"""Reordering: rows of one or more topics, given back as the flow's watermark passes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from operators.event_time.multi_topic import MultiTopicWatermark
from operators.records.batches import NO_WATERMARK, Progress
from operators.state.event_time_buffer import EventTimeBuffer, split_passed
from operators.state.shards import Composite, Rows, Sharded


class Reordering(Composite):
    """A key group's rows that wait, a buffer for each side, and the flow's watermark over all.

    `lateness` µs are added to the time that the watermark takes to pass a row. No row waits
    that it has passed: one that comes so late does not count, and is given back as late.
    """

    def __init__(
        self, partitions: Mapping[str, int], topics: Sequence[str], lateness: int
    ) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads.

        `topics` names each side's topic.
        """
        self._partitions = dict(partitions)
        self._topics, self._lateness = tuple(topics), lateness
        self._waiting = [EventTimeBuffer() for _ in topics]
        self._due = NO_WATERMARK
        self.flow = MultiTopicWatermark(partitions)

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What waits, by the number of its side."""
        return {str(side): waiting for side, waiting in enumerate(self._waiting)}

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def add(self, progress: list[Progress], *sides: pl.DataFrame | None) -> pl.DataFrame | None:
        """Take the partitions' progress and each side's keyed rows; return the late ones.

        The rows must not be late by their own partition's watermark. Late, as LATE_ROWS or
        None, are those of partitions that had been idle while the flow's watermark went on, or
        that have gone on from an earlier run with more out-of-orderness.
        """
        for each in progress:
            self.flow.observe(each)
        late = []
        for topic, rows, waiting in zip(self._topics, sides, self._waiting, strict=True):
            if rows is not None and rows.height:
                floors = self.flow.floors(topic)
                passed = self._due + self._lateness
                kept, missed = split_passed(topic, rows, passed, floors, self._lateness)
                waiting.add(kept)
                if missed is not None:
                    late.append(missed)
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

    def head(self) -> dict[str, Any]:
        """Return what is no row, for recovery; freezes the flow's watermark."""
        return super().head() | {"flow": self.flow.freeze(), "due": self._due}

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before."""
        super().load(head, found)
        self.flow = MultiTopicWatermark.thaw(self._partitions, head["flow"])
        self._due = head["due"]
        # What has passed may be in an old entry. Nothing else is before `due`: see `add`.
        for waiting in self._waiting:
            waiting.take(self._due)

"""The frontier: what a table accounts for, and which rows lie beyond it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from operators.columns.frames import filtered
from operators.columns.times import in_micros
from operators.event_time.multi_topic import MultiTopicWatermark
from operators.event_time.watermarks import FlowWatermark
from operators.records.batches import NO_WATERMARK, Progress
from operators.records.tables import Table


@dataclass
class Frontier:
    """What a table accounts for: per source partition the last offset, and the watermark.

    `offsets` maps (topic, partition) to the last offset, inclusive; `watermark` is the
    flow's in µs; `floors` has the watermark at which a partition joined that was added to its
    topic.
    """

    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    watermark: int = NO_WATERMARK
    floors: dict[tuple[str, int], int] = field(default_factory=dict)

    def joined(self, other: "Frontier") -> "Frontier":
        """Return the frontier of both: a replay that is cut short must not move it back."""
        offsets = dict(self.offsets)
        for place, offset in other.offsets.items():
            offsets[place] = max(offset, offsets.get(place, offset))
        floors = {**other.floors, **self.floors}
        return Frontier(offsets, max(self.watermark, other.watermark), floors)

    def beyond(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are not yet accounted for."""
        if rows.height == 0:
            return rows
        if table.fenced == "by window":
            if self.watermark == NO_WATERMARK:
                return rows
            closes = in_micros(rows[table.closes]) + table.lateness
            new = closes > self.watermark
            return rows if new.all() else filtered(rows, pl.Series(new))
        if not self.offsets:
            return rows
        # In NumPy: each of Polars' filters would wait for another thread, for every table and
        # batch, and nearly always to keep all rows.
        partitions, offsets = (
            rows[name].to_numpy() for name in ("source_partition", "source_offset")
        )
        fence = np.full(rows.height, -1)
        topics = {topic for topic, _ in self.offsets}
        of_topic = {topic: (rows["source_topic"] == topic).to_numpy() for topic in topics}
        for (topic, partition), offset in self.offsets.items():
            fence[of_topic[topic] & (partitions == partition)] = offset
        new = offsets > fence
        return rows if new.all() else filtered(rows, pl.Series(new))


class Tracker:
    """Turns the sources' progress into the frontier of the epoch that is under way."""

    def __init__(self, partitions: Mapping[str, int] | None = None) -> None:
        """`partitions` is each topic's number of partitions; needed if there are several."""
        self.offsets: dict[tuple[str, int], int] = {}
        self._floors: dict[tuple[str, int], int] = {}
        self._partitions = dict(partitions or {})
        self.flow: MultiTopicWatermark | FlowWatermark = (
            MultiTopicWatermark(partitions) if partitions else FlowWatermark()
        )

    def observe(self, progress: Progress) -> None:
        """Take a partition's progress."""
        if progress.offset >= 0:
            self.offsets[progress.topic, progress.partition] = progress.offset
        if progress.floor != NO_WATERMARK:
            self._floors[progress.topic, progress.partition] = progress.floor
        self.flow.observe(progress)

    def resume(self, flow: Mapping[str, Any]) -> None:
        """Take up the frozen state of `flow`."""
        self.flow = (
            MultiTopicWatermark.thaw(self._partitions, flow)
            if self._partitions
            else FlowWatermark.thaw(flow)
        )

    @property
    def frontier(self) -> Frontier:
        """The frontier after all progress so far."""
        return Frontier(dict(self.offsets), self.flow.current, dict(self._floors))


def joining_floors(
    frontiers: Sequence[Frontier], partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Return at which watermark in µs partitions without recovered state join the flow.

    That is the watermark of the table that is furthest, which may be ahead of the recovery
    store: none of the windows that it has takes another record. A partition that joined before,
    in an epoch that the tables know and the recovery store does not, joins where it did then.
    One whose records the tables had from the start has no floor.
    """
    reached = max((each.watermark for each in frontiers), default=NO_WATERMARK)
    found = {}
    for place in partitions:
        before = [each.floors[place] for each in frontiers if place in each.floors]
        if before:
            found[place] = max(before)
        elif reached != NO_WATERMARK and not any(place in each.offsets for each in frontiers):
            found[place] = reached
    return found

"""The judge of labels: from when each of them counts, which is decided once and told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from operators.columns.frames import filtered
from operators.columns.times import in_micros
from operators.event_time.watermarks import FlowWatermark
from operators.features.by_another.requests import WOKEN
from operators.features.lanes import nullable
from operators.records.batches import NO_WATERMARK, Batch, Progress
from operators.records.tables import TIME

STATE_VERSION: Final = 1

Known: TypeAlias = Callable[[Mapping[int, int]], Mapping[int, pl.DataFrame]]
"""Returns the labels that a table has behind offsets by partition, WOKEN included."""


class LabelJudge:
    """Tells from when labels count, by how far the events had come.

    A partition of labels that is read to its end holds no event back: at a snapshot it comes to
    the events' watermark, and what comes later counts from then on. One that is behind is waited
    for. What counts from when is decided here alone, and a table has it: labels that are there
    already come from it, as they were judged, and not again from the topic.
    """

    def __init__(self, known: Known, state: Mapping[str, Any] | None = None) -> None:
        """`state` resumes an earlier one; raises ValueError for one of an unknown version."""
        self._known = known
        self._table: dict[int, pl.DataFrame] | None = None
        self._events = FlowWatermark(flushed=True)
        self._seen: dict[int, Progress] = {}
        self._floors: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._told: dict[int, int] = {}
        if state is None:
            return
        if state["version"] != STATE_VERSION:
            raise ValueError(f"judged labels of state version {state['version']}")
        self._events = FlowWatermark.thaw(state["events"], flushed=True)
        self._floors, self._last = dict(state["floors"]), dict(state["last"])
        for each in state["seen"]:
            progress = Progress(**each)
            self._seen[progress.partition] = progress

    def _mark(self, partition: int) -> int:
        """Return the watermark up to which no label counts that comes now, in µs."""
        return max(self._seen[partition].watermark, self._floors.get(partition, NO_WATERMARK))

    def advance(self, events: Sequence[Progress], labels: Sequence[Batch]) -> list[Batch]:
        """Take how far events have come, and labels, with their partitions' watermarks.

        Labels are given back with WOKEN, which is null where their own partition's watermark is
        no earlier. Progress tells up to when all are there that count; of the `past` is what a
        table has.
        """
        for each in events:
            self._events.observe(each)
        found = [made for batch in labels for made in self._judge(batch)]
        for partition, progress in self._seen.items():
            if self._mark(partition) != self._told.get(partition):
                found.append(self._say(progress, pl.DataFrame()))
        return found

    def _judge(self, batch: Batch) -> list[Batch]:
        progress, frame, found = batch.progress, batch.frame, []
        partition = progress.partition
        if self._table is None:
            offsets = {number: each.offset for number, each in self._seen.items()}
            self._table = dict(self._known(offsets))
        if (past := self._table.pop(partition, None)) is not None and past.height:
            self._last[partition] = int(past["source_offset"][-1])
            before = self._seen.get(partition, replace(progress, watermark=NO_WATERMARK))
            found.append(Batch(replace(before, past=True), past))
        last = self._last.get(partition, -1)
        if frame.height and frame["source_offset"][0] <= last:
            frame = filtered(frame, pl.Series(frame["source_offset"].to_numpy() > last))
        if frame.height:
            woken = np.full(frame.height, self._floors.get(partition, NO_WATERMARK))
            slept = woken > in_micros(frame["watermark"])
            frame = frame.hstack([nullable(WOKEN, woken, ~slept).cast(TIME)])
        self._seen[partition] = progress
        return [*found, self._say(progress, frame)]

    def _say(self, progress: Progress, frame: pl.DataFrame) -> Batch:
        self._told[progress.partition] = mark = self._mark(progress.partition)
        return Batch(replace(progress, watermark=mark, idle=False), frame)

    def freeze(self) -> dict[str, Any]:
        """Bring partitions that are read to their end to the events, and return the state.

        To be called at snapshots only.
        """
        events = self._events.freeze()
        for partition, progress in self._seen.items():
            # What is behind an open transaction cannot be waited for either.
            read = progress.caught_up or progress.blocked
            if read and progress.offset >= self._last.get(partition, -1):
                floor = self._floors.get(partition, NO_WATERMARK)
                self._floors[partition] = max(floor, self._events.current)
        return {
            "version": STATE_VERSION,
            "events": events,
            "seen": [asdict(each) for each in self._seen.values()],
            "floors": dict(self._floors),
            "last": dict(self._last),
        }

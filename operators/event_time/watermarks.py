"""Watermarks: how far event time has come, per source partition and for the flow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress


@dataclass(frozen=True)
class Bounds:
    """The bounded out-of-orderness of a topic in µs: today's, and those `before`, oldest first.

    Each of these counted up to offsets by partition, inclusive.
    """

    now: int
    before: tuple[tuple[int, Mapping[int, int]], ...] = ()

    @property
    def first(self) -> int:
        """The oldest."""
        return self.before[0][0] if self.before else self.now

    def of(self, partition: int, offsets: Int64s) -> list[tuple[int, int]]:
        """Return by which bounds ascending offsets are judged: how many, by which each."""
        found, start = [], 0
        for bound, last in self.before:
            end = int(np.searchsorted(offsets, last.get(partition, -1), "right"))
            if end > start:
                found.append((end - start, bound))
                start = end
        return [*found, (len(offsets) - start, self.now)] if start < len(offsets) else found


class PartitionWatermark:
    """A partition's watermark: its largest event time minus the bounded out-of-orderness.

    It depends on the partition's records alone, so every replay computes the same. `bound`
    is in µs; `largest` resumes an earlier one, `told` one that was retracing its past, and `floor`
    one that had another bound. It never goes back: where the bound grows it stands still until
    event time has caught up.
    """

    def __init__(
        self,
        bound: int | Bounds,
        largest: int = NO_WATERMARK,
        told: int = NO_WATERMARK,
        by: int | None = None,
        floor: int = NO_WATERMARK,
    ) -> None:
        """`by` is the bound that made an earlier one, in µs, if that is known."""
        self._bounds = bound if isinstance(bound, Bounds) else Bounds(bound)
        self.bound = self._bounds.first if by is None else by
        self.largest = largest
        self.told = told
        """The last watermark of the past that is being retraced, in µs."""
        self.floor = floor
        """What it had come to by earlier bounds, in µs."""

    @property
    def current(self) -> int:
        """The watermark in µs, NO_WATERMARK before the first event.

        While the past is retraced that before the newest event: no later one was judged by less.
        """
        if self.told != NO_WATERMARK:
            return self.told
        return max(self.floor, self._reached)

    @property
    def _reached(self) -> int:
        return NO_WATERMARK if self.largest == NO_WATERMARK else self.largest - self.bound

    def advance(self, event_times: Int64s, frame: pl.DataFrame | None = None) -> Int64s:
        """Take n event times in offset order; return the watermark before each, shape (n,).

        `frame` has their coordinates, by which an earlier bound may count.
        """
        if len(event_times) == 0:
            return event_times
        if not self._bounds.before or frame is None:
            return self._advance(event_times, self._bounds.now)
        found, start = [], 0
        for count, bound in self._by(frame):
            found.append(self._advance(event_times[start : start + count], bound))
            start += count
        return np.concatenate(found)

    def _by(self, frame: pl.DataFrame) -> list[tuple[int, int]]:
        partition = int(frame["source_partition"][0])
        return self._bounds.of(partition, frame["source_offset"].to_numpy())

    def _advance(self, event_times: Int64s, bound: int) -> Int64s:
        self._settle(bound)
        largest = np.maximum.accumulate(np.concatenate(([self.largest], event_times)))
        self.largest = int(largest[-1])
        before = largest[:-1]
        reached = np.where(before == NO_WATERMARK, NO_WATERMARK, before - self.bound)
        return np.maximum(reached, self.floor)

    def retrace(
        self, event_times: Int64s, watermarks: Int64s, frame: pl.DataFrame | None = None
    ) -> None:
        """Take n events of the past with the watermarks before each; `frame` as in `advance`."""
        if len(event_times):
            self.bound = self._bounds.now
            if self._bounds.before and frame is not None:
                self.bound = self._by(frame)[-1][1]
            self.largest = max(self.largest, int(event_times.max()))
            self.told = int(watermarks[-1])

    def settle(self) -> None:
        """End the past: from here on the bound counts."""
        self._settle(self.bound)

    def _settle(self, bound: int) -> None:
        """Let a bound count from here on; no watermark goes back."""
        if self.told != NO_WATERMARK or bound != self.bound:
            self.floor = self.current
            self.told = NO_WATERMARK
        self.bound = bound


class Idleness:
    """Tells when a partition is idle: it is read to its end, and no event comes for a time.

    An event is a record that reaches the watermark. Refused records and duplicates are none:
    whatever comes of them, they cannot move it. An event that could move it and does not, as it
    is not the largest so far, is one nevertheless: as long as events come, what is late among
    them is for the partition's own watermark to say and not for a clock.

    A partition with records left to read, or with an open transaction, is behind and never
    idle. Time in which it was behind counts all the same once everything is read, and so does
    time in which the flow was down: no event came in it.
    """

    def __init__(self, timeout: float, now: float, quiet: float = 0.0) -> None:
        """`timeout` is in s, `now` of a clock that goes on evenly, in s; `quiet` resumes."""
        self._timeout, self._heard = timeout, now - quiet

    def quiet(self, now: float) -> float:
        """Return for how many seconds no event has come."""
        return max(now - self._heard, 0.0)

    def judge(self, progress: Progress, events: int, now: float) -> Progress:
        """Take how many events have come with the progress; return it with the judgement."""
        if events:
            self._heard = now
        quiet = self.quiet(now)
        return replace(progress, quiet=quiet, idle=progress.caught_up and quiet > self._timeout)


class FlowWatermark:
    """The flow's watermark: the minimum over the source's partitions.

    It decides when a window is emitted, never what is in it. An idle partition stops holding
    the others back: from the next epoch on it stands at its `floor`, the minimum of the
    others as of the last snapshot. Floors change at snapshots only, where everyone has seen
    the same progress, so every key group and every sink comes to the same value, also when
    an epoch is replayed.
    """

    def __init__(self, *, flushed: bool = False) -> None:
        """With all partitions idle it stands still; or, `flushed`, goes on to the largest one."""
        self._seen: dict[int, Progress] = {}
        self._floors: dict[int, int] = {}
        self._entry = NO_WATERMARK
        self._flushed = flushed

    def observe(self, progress: Progress) -> None:
        """Take a partition's newest progress, before any of its rows are judged.

        A partition that was added to the topic joins at its own floor, or at the watermark of
        the snapshot that the flow resumed from: what had closed by then stays closed. One that
        goes on behind its past respects what the tables had closed by then.
        """
        entry = max(self._entry, progress.floor)
        if entry != NO_WATERMARK and progress.partition not in self._seen:
            self._floors[progress.partition] = max(entry, self.floor(progress.partition))
        if progress.closed != NO_WATERMARK:
            closed = max(progress.closed, self.floor(progress.partition))
            self._floors[progress.partition] = closed
        self._seen[progress.partition] = progress

    @property
    def _complete(self) -> bool:
        """Whether every partition was heard of; a topic may have grown since some were."""
        return len(self._seen) >= max([p.partitions for p in self._seen.values()], default=1)

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
        # As `_of`: each key group asks, of each batch.
        floors = self._floors
        return min(
            [
                max(p.watermark, floors.get(p.partition, NO_WATERMARK))
                for p in self._seen.values()
            ]
        )

    @property
    def waits_for(self) -> Progress | None:
        """The partition furthest behind, which the flow's watermark waits for; None before any.

        One that is idle only where all are.
        """
        awake = [p for p in self._seen.values() if not p.idle]
        return min(awake or self._seen.values(), key=self._of, default=None)

    @property
    def seen(self) -> Iterable[Progress]:
        """The partitions' newest progress."""
        return self._seen.values()

    def freeze(self) -> dict[str, Any]:
        """Lift the idle partitions' floors and return the state; call at snapshots only."""
        awake = [self._of(p) for p in self._seen.values() if not p.idle]
        if self._flushed and not awake:
            # None is left to wait for.
            awake = [max(map(self._of, self._seen.values()), default=NO_WATERMARK)]
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
    def thaw(cls, state: Mapping[str, Any], *, flushed: bool = False) -> Self:
        """Resume from a frozen state; no partition is idle until it is judged so again."""
        flow = cls(flushed=flushed)
        for topic, partition, partitions, watermark in state["seen"]:
            flow.observe(Progress(topic, partition, partitions, watermark=watermark))
        flow._floors.update(state["floors"])
        flow._entry = state.get("current", NO_WATERMARK)
        return flow


def ended(watermark: int) -> bool:
    """Tell whether a watermark is the one behind a bounded input's last record."""
    return watermark >= END_OF_INPUT

"""Matching: open matches of one key group, moved on by each batch that the watermark passed."""

from collections import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.grouping import distinct
from operators.patterns.nfa import UNSET, Candidates, Runs, breaks, walk
from operators.patterns.pattern import STEP_BITS, Pattern
from operators.patterns.results import apart, results
from operators.records.batches import Progress
from operators.state.event_time_buffer import HASH, INTERNAL, TIME_US
from operators.state.reordering import Reordering
from operators.state.shards import Composite, Sharded
from operators.state.time_log import TimeLog


@dataclass(frozen=True, slots=True)
class Matched:
    """What one call of `advance` brings, either of it None.

    `rows` are the matches, sorted by `settled_at` and the order of their first events; `late`
    are LATE_ROWS of partitions that had been idle.
    """

    rows: pl.DataFrame | None
    late: pl.DataFrame | None


class OpenMatches(Composite):
    """The matches of one key group that have begun, and events not yet passed.

    State is an open match per start and the events it has taken: nothing per key. Keys are
    told apart by their 64-bit hash; two of a million share one with a probability of 3e-8.
    """

    VERSION: ClassVar = 4

    def __init__(self, pattern: Pattern, partitions: abc.Mapping[str, int]) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads."""
        self._pattern = pattern
        self.reordering = Reordering(partitions, [pattern.side.topic], pattern.lateness)
        self._events = TimeLog()
        taken: dict[str, type[np.generic]] = dict.fromkeys(self._names, np.int64)
        self._open = TimeLog(step=np.int64, **taken)
        # Complete, but for the absence that must follow; by the last event's time.
        self._held = TimeLog(**taken)

    @property
    def _names(self) -> list[str]:
        return [f"event_{i}" for i in range(len(self._pattern.steps))]

    @property
    def members(self) -> abc.Mapping[str, Sharded]:
        """What has rows."""
        return {
            "arrivals": self.reordering,
            "events": self._events,
            "open": self._open,
            "held": self._held,
        }

    @property
    def rows(self) -> int:
        """How many events and open matches are kept."""
        return len(self.reordering) + len(self._events) + len(self._open) + len(self._held)

    def advance(self, progress: list[Progress], rows: pl.DataFrame | None) -> Matched:
        """Add keyed rows (`Pattern.rows`), take the progress, and emit what is settled.

        The rows must not be late by their own partition's watermark.
        """
        late = self.reordering.add(progress, rows)
        return Matched(self._settle(), late)

    def _settle(self) -> pl.DataFrame | None:
        passed = self.reordering.passed()
        if passed is None:
            return None
        due, (events,) = passed
        taken = np.empty((0, len(self._names)), np.int64)
        if events is not None:
            taken = self._match(events)
        absence = 1
        if self._pattern.absent is not None:
            absence = self._pattern.absent.within
            taken = self._unbroken(due - absence + 1)
        if self._pattern.matches == "skip_past_last" and len(taken):
            taken = self._skip(taken)
        rows = None
        if len(taken):
            rows = results(self._pattern, self._events, taken, absence)
        self._held.forget(due - absence + 1)
        self._open.forget(due - self._pattern.within + 1)
        self._events.forget(due - self._pattern.within - absence)
        return rows

    def _match(self, events: pl.DataFrame) -> Int64s:
        """Move every open match on; return the events of the complete, shape (m, steps)."""
        keys, marks = events[HASH].to_numpy(), events[STEP_BITS].to_numpy()
        runs = Runs.by(keys, events[TIME_US].to_numpy(), marks)
        places, ids = self._open.find(runs.rows.keys, None, None)
        old = Candidates.resumed(self._open, ids, places, runs, len(self._names))
        moved = walk(self._pattern, runs, old)
        if self._pattern.absent is not None:
            self._break(runs, moved)
        self._keep(events, runs, moved)
        complete = moved.complete
        going_on = moved.alive & ~complete
        self._update(moved, ids, going_on[: len(ids)])
        self._begin(runs, moved, np.flatnonzero(going_on[len(ids) :]) + len(ids))
        done = np.flatnonzero(complete)
        if self._pattern.absent is None:
            return moved.taken[done]
        done = done[np.argsort(moved.taken[done, -1], kind="stable")]
        last = runs.times[moved.at[done] - 1]
        held = dict(zip(self._names, moved.taken[done].T, strict=True))
        self._held.append(runs.rows.keys[moved.run[done]], last, None, **held)
        return moved.taken[:0]

    def _break(self, runs: Runs, moved: Candidates) -> None:
        """End the held matches, and those complete by now, that the absence's event breaks."""
        places, ids = self._held.find(runs.rows.keys, None, None)
        last = self._held.column("time")[ids - self._held.first]
        broken = breaks(self._pattern, runs, places, runs.rows.starts[places], last)
        self._held.kill(ids[broken])
        done = np.flatnonzero(moved.complete)
        at = moved.at[done]
        broken = breaks(self._pattern, runs, moved.run[done], at, runs.times[at - 1])
        moved.alive[done[broken]] = False

    def _keep(self, events: pl.DataFrame, runs: Runs, moved: Candidates) -> None:
        """Keep the events that matches have taken; turn positions in the batch into ids."""
        fresh = (moved.taken < 0) & (moved.taken != UNSET) & moved.alive[:, None]
        rows = runs.rows.order[~moved.taken[fresh]]
        kept = distinct(rows)
        if len(kept) == 0:
            return
        frame = events[kept]
        first = self._events.append(
            frame[HASH].to_numpy(), frame[TIME_US].to_numpy(), frame.drop(*INTERNAL, STEP_BITS)
        )
        moved.taken[fresh] = np.searchsorted(kept, rows) + first

    def _update(self, moved: Candidates, ids: Int64s, going_on: np.ndarray[Any, Any]) -> None:
        self._open.kill(ids[~going_on])
        taken = dict(zip(self._names, moved.taken[: len(ids)].T, strict=True))
        self._open.set(ids, step=moved.step[: len(ids)], **taken)

    def _begin(self, runs: Runs, moved: Candidates, new: Int64s) -> None:
        new = new[np.argsort(moved.taken[new, 0])]
        taken = dict(zip(self._names, moved.taken[new].T, strict=True))
        keys = runs.rows.keys[moved.run[new]]
        self._open.append(keys, moved.began[new], None, step=moved.step[new], **taken)

    def _unbroken(self, before: int) -> Int64s:
        """Return the held matches whose last event is before a time and that nothing broke."""
        due = int(np.searchsorted(self._held.column("time"), before))
        alive = np.flatnonzero(self._held.column("alive")[:due])
        columns = [self._held.column(name)[alive] for name in self._names]
        taken: Int64s = np.stack(columns, axis=1)
        return taken

    def _skip(self, taken: Int64s) -> Int64s:
        """Return the matches that no earlier one overlaps, and end those begun in them."""
        keys = self._events.column("key")[taken[:, 0] - self._events.first]
        rows = apart(keys, taken[:, 0], taken[:, -1])
        for log in (self._open, self._held):
            places, ids = log.find(keys[rows], None, None)
            first = log.column("event_0")[ids - log.first]
            log.kill(ids[first <= taken[rows, -1][places]])
        kept: Int64s = taken[rows]
        return kept

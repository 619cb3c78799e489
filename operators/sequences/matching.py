"""Matching: open matches of one key group, moved on by each batch that the watermark passed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.batches import NO_WATERMARK, Int64s, Progress
from operators.joint import JointWatermark
from operators.sequences.pattern import MARKS, Sequence
from operators.sequences.runs import Runs
from operators.sequences.steps import Candidates, walk
from operators.shelf import Shelf
from operators.tables import TIME
from operators.waiting import HASH, INTERNAL, TIME_US, Waiting, split_woken


@dataclass(frozen=True, slots=True)
class Matched:
    """What one call of `advance` brings, either of it None.

    `rows` are the matches, sorted by `settled_at` and the order of their first events; `late`
    are LATE_ROWS of partitions that had been idle.
    """

    rows: pl.DataFrame | None
    late: pl.DataFrame | None


class OpenMatches:
    """The matches of one key group that have begun, and events not yet passed.

    State is an open match per start, with the events it has taken: nothing per key. Keys are
    told apart by their 64-bit hash; two of a million share one with a probability of 3e-8.
    """

    VERSION: Final = 1

    def __init__(self, sequence: Sequence, partitions: Mapping[str, int]) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads."""
        self._sequence = sequence
        self.flow = JointWatermark(partitions)
        self._waiting = Waiting()
        self._events = Shelf()
        taken = {f"event_{i}": np.int64 for i in range(len(sequence.steps))}
        self._open = Shelf(step=np.int64, **taken)
        # Complete, but for the absence that must follow.
        self._held = Shelf(**taken)
        self._due = NO_WATERMARK

    @property
    def rows(self) -> int:
        """How many events and open matches are kept."""
        return sum(map(len, (self._events, self._open, self._held))) + len(self._waiting)

    def advance(self, progress: list[Progress], rows: pl.DataFrame | None) -> Matched:
        """Add keyed rows (`Sequence.rows`), take the progress, and emit what is settled.

        The rows must not be late by their own partition's watermark.
        """
        late = None
        if rows is not None and rows.height:
            topic = self._sequence.side.topic
            floors = self.flow.floors(topic)
            rows, late = split_woken(topic, rows, floors, self._sequence.lateness)
            self._waiting.add(rows)
        for each in progress:
            self.flow.observe(each)
        return Matched(self._settle(), late)

    def _settle(self) -> pl.DataFrame | None:
        due = self.flow.current - self._sequence.lateness
        if due <= self._due:
            return None
        self._due = due
        absent = self._sequence.absent
        events = self._waiting.take(due)
        complete = None if events is None else self._match(events)
        if absent is None:
            result = None if complete is None else self._skipped(complete)
        else:
            result = self._unbroken(due - absent.within)
        rows = None if result is None or len(result) == 0 else self._rows(result)
        self._open.forget(due - self._sequence.within + 1)
        reach = self._sequence.within + (absent.within if absent else 0)
        self._events.forget(due - reach)
        return rows

    def _match(self, events: pl.DataFrame) -> Int64s | None:
        """Move every open match on; return the events of the complete, shape (m, steps)."""
        keys, marks = events[HASH].to_numpy(), events[MARKS].to_numpy()
        runs = Runs.by(keys, events[TIME_US].to_numpy(), marks)
        places, ids = self._open.find(runs.rows.keys, None, None)
        old = Candidates.resumed(self._open, ids, places, runs, len(self._sequence.steps))
        candidates = walk(self._sequence, runs, old)
        self._keep(events, runs, candidates)
        complete = candidates.complete
        if self._sequence.absent is not None:
            self._hold(runs, candidates, complete)
            self._break(runs)
            complete = complete[:0]
        if len(ids):
            moved = candidates.alive[: len(ids)] & ~candidates.done[: len(ids)]
            at = ids - self._open.first
            self._open.kill(ids[~moved])
            self._open.column("step")[at] = candidates.step[: len(ids)]
            for i in range(len(self._sequence.steps)):
                self._open.column(f"event_{i}")[at] = candidates.taken[: len(ids), i]
        self._begin(runs, candidates, len(ids))
        return candidates.taken[complete] if len(complete) else None

    def _keep(self, events: pl.DataFrame, runs: Runs, candidates: Candidates) -> None:
        """Keep the events that matches have taken; turn positions in the batch into ids."""
        fresh = candidates.fresh
        taken = np.unique(runs.rows.order[candidates.taken[fresh]])
        if len(taken) == 0:
            return
        kept = events[taken]
        first = self._events.append(
            kept[HASH].to_numpy(), kept[TIME_US].to_numpy(), kept.drop(*INTERNAL, MARKS)
        )
        ids = np.full(events.height, -1, np.int64)
        ids[taken] = np.arange(first, first + len(taken))
        candidates.taken[fresh] = ids[runs.rows.order[candidates.taken[fresh]]]

    def _begin(self, runs: Runs, candidates: Candidates, old: int) -> None:
        new = np.flatnonzero(candidates.alive & ~candidates.done)
        new = new[new >= old]
        new = new[np.argsort(candidates.taken[new, 0])]
        taken = {f"event_{i}": candidates.taken[new, i] for i in range(len(self._sequence.steps))}
        keys = runs.rows.keys[candidates.run[new]]
        self._open.append(keys, candidates.began[new], None, step=candidates.step[new], **taken)

    def _hold(self, runs: Runs, candidates: Candidates, complete: Int64s) -> None:
        complete = complete[np.argsort(candidates.taken[complete, -1], kind="stable")]
        taken = {f"event_{i}": each for i, each in enumerate(candidates.taken[complete].T)}
        last = runs.times[candidates.at[complete] - 1]
        self._held.append(runs.rows.keys[candidates.run[complete]], last, None, **taken)

    def _break(self, runs: Runs) -> None: ...

    def _unbroken(self, before: int) -> Int64s: ...

    def _skipped(self, complete: Int64s) -> Int64s: ...

    def _rows(self, taken: Int64s) -> pl.DataFrame: ...

"""The automaton (NFA): open matches and new ones, moved on through a batch of events by key."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.grouping import Sorted
from operators.patterns.pattern import Pattern
from operators.state.time_log import TimeLog

UNSET = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Runs:
    """A batch's n events sorted by (key, order): `rows` as in `Sorted`, times and marks so.

    `ends` is the position behind each run's last event.
    """

    rows: Sorted
    times: Int64s
    marks: Int64s
    ends: Indices

    @classmethod
    def by(cls, keys: UInt64s, times: Int64s, marks: Int64s) -> Self:
        """Sort n events, n at least 1, that are in order of (time, partition, offset)."""
        rows = Sorted.by(keys)
        ends = np.append(rows.starts[1:], len(keys))
        return cls(rows, times[rows.order], marks[rows.order], ends)

    def next(self, met: Bools) -> Indices:
        """Return the first position at or behind each of 0 to n where `met`; n for none.

        It does not stop at a key's end: compare it with `ends`.
        """
        n = len(met)
        places = np.append(np.where(met, np.arange(n), n), n)
        return np.minimum.accumulate(places[::-1])[::-1]


@dataclass(slots=True)
class Candidates:
    """Matches under way: parallel arrays of length c.

    `run` is the key's run, `at` the position to look on from, `began` the first event's time
    in µs, `step` the step to come and `taken` the events so far, shape (c, steps): the ids of
    earlier events, ~position of those of this batch, UNSET of those to come.
    """

    run: Indices
    at: Indices
    began: Int64s
    step: Int64s
    taken: Int64s
    alive: Bools

    @classmethod
    def resumed(cls, open_: TimeLog, ids: Int64s, run: Indices, runs: Runs, steps: int) -> Self:
        """Take up open matches where this batch begins."""
        at = ids - open_.first
        taken = [open_.column(f"event_{i}")[at] for i in range(steps)]
        return cls(
            run,
            runs.rows.starts[run],
            open_.column("time")[at],
            open_.column("step")[at],
            np.stack(taken, axis=1),
            np.ones(len(ids), bool),
        )

    def begin(self, runs: Runs, starts: Indices) -> "Candidates":
        """Return these and a new one at each of the positions `starts`."""
        taken = np.full((len(starts), self.taken.shape[1]), UNSET, np.int64)
        taken[:, 0] = ~starts
        return Candidates(
            np.concatenate((self.run, runs.rows.runs[starts])),
            np.concatenate((self.at, starts + 1)),
            np.concatenate((self.began, runs.times[starts])),
            np.concatenate((self.step, np.ones(len(starts), np.int64))),
            np.concatenate((self.taken, taken)),
            np.concatenate((self.alive, np.ones(len(starts), bool))),
        )

    @property
    def complete(self) -> Bools:
        """Which have met every step."""
        met: Bools = self.alive & (self.step == self.taken.shape[1])
        return met


def walk(pattern: Pattern, runs: Runs, candidates: Candidates) -> Candidates:
    """Return the open matches and those that begin in the batch, moved on as far as it goes."""
    starts = np.flatnonzero(pattern.where(runs.marks, 0))
    moved = candidates.begin(runs, starts)
    for step in range(1, len(pattern.steps)):
        # In order of the steps: who has met one in this batch may meet the next one too.
        _step(pattern, runs, moved, step)
    return moved


def _step(pattern: Pattern, runs: Runs, c: Candidates, step: int) -> None:
    who = np.flatnonzero(c.alive & (c.step == step))
    if len(who) == 0:
        return
    met = pattern.where(runs.marks, step)
    at, end = c.at[who], runs.ends[c.run[who]]
    there = at if pattern.steps[step].strict else runs.next(met)[at]
    inside = there < end
    row = np.where(inside, there, 0)
    found = inside & met[row]
    dead = inside & ~found
    unless = pattern.unless(runs.marks, step)
    if unless is not None:
        dead |= runs.next(unless)[at] < np.minimum(there, end)
    dead |= found & (runs.times[row] - c.began[who] >= pattern.within)
    found &= ~dead
    c.alive[who[dead]] = False
    on = who[found]
    c.taken[on, step] = ~there[found]
    c.at[on] = there[found] + 1
    c.step[on] = step + 1


def breaks(pattern: Pattern, runs: Runs, run: Indices, at: Indices, last: Int64s) -> Bools:
    """Tell which matches the absence's event breaks; `last` is their last event's time in µs.

    `run` and `at` say where to look for it from.
    """
    if pattern.absent is None or len(run) == 0:
        return np.zeros(len(run), bool)
    there = runs.next(pattern.absence(runs.marks))[at]
    inside = there < runs.ends[run]
    times = runs.times[np.where(inside, there, 0)]
    return inside & (times - last < pattern.absent.within)

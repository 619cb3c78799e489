"""The past: what each event's key did before it, as far as it is not forgotten."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Bools, Indices, Int64s
from operators.columns.grouping import Sorted
from operators.features.totals import PERIOD, Totals
from operators.records.batches import NO_WATERMARK
from operators.state.folds import NONE, exclusive

Array = npt.NDArray[Any]

FORGET: Final = 90 * 86_400_000_000
"""A key whose newest event is this much event time behind, in µs, may be forgotten."""


class Past:
    """What is known of each key before each event of a batch, in sorted order.

    A key is forgotten in whole periods of the watermark, judged at its next event: a function
    of the data, whenever the memory is given back. Each of the methods that say something of
    the earlier events also takes those of the batch.
    """

    def __init__(
        self, totals: Totals, rows: Sorted, times: Int64s, marks: Int64s, bound: int
    ) -> None:
        """Find what is kept of the keys; `marks` are the watermarks before the events, in µs."""
        self._totals, self.rows = totals, rows
        # The partition's first event has no watermark before it and counts by its own.
        periods = np.where(marks == NO_WATERMARK, times - bound, marks) // FORGET
        self._slots = totals.find(rows.keys)
        self._here = np.arange(len(times))
        start = rows.starts[rows.runs]
        breaks = np.zeros(len(times), bool)
        breaks[1:] = periods[1:] - periods[:-1] > 1
        breaks[rows.starts] = periods[rows.starts] - self.old(PERIOD) > 1
        # The newest break at or before each row, if in its own run, is where its past begins.
        since = np.maximum.accumulate(np.where(breaks, self._here, -1))
        self.carried: Bools = since < start
        """Whether what was kept of the key is part of the event's past, shape (n,)."""
        self.begin: Indices = np.where(self.carried, start, since)
        """The position of the first event of the batch in the event's past, shape (n,)."""
        self.ends: Indices = np.append(rows.starts[1:], len(times)) - 1
        """The position of each key's last event, shape (keys,)."""
        self.keep(PERIOD, periods[self.ends])
        totals.columns["changed"][self._slots] = True
        self._oldest = int(periods.max()) - 1

    def old(self, name: str) -> Array:
        """Return what was kept of each key before the batch, shape (keys,)."""
        return self._totals.columns[name][self._slots]

    def keep(self, name: str, values: Array) -> None:
        """Keep something of each key, shape (keys,); after the last `old` of that name."""
        self._totals.columns[name][self._slots] = values

    def count(self, name: str) -> Int64s:
        """Return how many events there were before each."""
        old = np.where(self.carried, self.old(name)[self.rows.runs], 0)
        count = self._here - self.begin + old
        self.keep(name, count[self.ends] + 1)
        return count

    def sum(self, name: str, values: Int64s) -> Int64s:
        """Return what the values of the earlier events sum up to."""
        sums = exclusive(values)
        old = np.where(self.carried, self.old(name)[self.rows.runs], 0)
        total = sums[self._here] - sums[self.begin] + old
        self.keep(name, total[self.ends] + values[self.ends])
        return total

    def largest(self, name: str, values: Int64s) -> Int64s:
        """Return the largest value of the earlier events; NONE is no value."""
        old = np.where(self.carried, self.old(name)[self.rows.runs], NONE)
        # The largest so far, begun anew with each past: ranks, each past's above the one before.
        ranked, ranks = np.unique(values, return_inverse=True)
        past = np.cumsum(self.begin == self._here) * len(ranked)
        so_far = ranked[np.maximum.accumulate(past + ranks) - past]
        before: Int64s = np.full(len(values), NONE)
        before[1:] = np.where(self.begin[1:] < self._here[1:], so_far[:-1], NONE)
        np.maximum(before, old, out=before)
        self.keep(name, np.maximum(before, values)[self.ends])
        return before

    def newest(self, mask: Bools) -> tuple[Indices, Indices]:
        """Return where the newest event that `mask` picks stands before each event, shape (n,).

        And the same up to each key's last event, shape (keys,). -1 where none of the batch is
        in the past.
        """
        last = np.maximum.accumulate(np.where(mask, self._here, -1))
        before = np.concatenate((np.full(1, -1), last[:-1]))
        up_to = np.where(last >= self.begin, last, -1)[self.ends]
        return np.where(before >= self.begin, before, -1), up_to

    def end(self) -> None:
        """Give back the memory of what is forgotten."""
        self._totals.forget_before(self._oldest)

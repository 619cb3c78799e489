"""Label runs: labels in order, and what is asked of ranges of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.grouping import differs, distinct, order_by
from operators.columns.ranges import repeats
from operators.state.folds import NONE, Ask, exclusive, is_sum, summands, turned

STANDS: Final = 2**62
"""Until when a label counts that no other has replaced, in µs."""

_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND: Final = 1_000_000


@dataclass(slots=True)
class Labels:
    """Labels, as parallel arrays: the hashes of key and event, and since when each counts in µs.

    Of those of an event with the same `since` the one with the larger `place` is newer. `new` are
    those that no snapshot's entry has.
    """

    keys: UInt64s
    events: UInt64s
    since: Int64s
    places: Int64s
    new: Bools
    columns: dict[str, Int64s]

    def __len__(self) -> int:
        return len(self.keys)

    def pick(self, rows: Indices | slice) -> "Labels":
        """Return those at some positions, in their order."""
        columns = {name: each[rows] for name, each in self.columns.items()}
        return Labels(
            self.keys[rows], self.events[rows], self.since[rows], self.places[rows],
            self.new[rows], columns,
        )  # fmt: skip

    @classmethod
    def joined(cls, some: Sequence["Labels"]) -> "Labels":
        """Return several as one."""
        if len(some) == 1:
            return some[0]
        return cls(
            np.concatenate([each.keys for each in some]),
            np.concatenate([each.events for each in some]),
            np.concatenate([each.since for each in some]),
            np.concatenate([each.places for each in some]),
            np.concatenate([each.new for each in some]),
            {n: np.concatenate([each.columns[n] for each in some]) for n in some[0].columns},
        )


class Run:
    """Labels in the order of (key, since), so that a range of time is a range of them."""

    def __init__(self, labels: Labels) -> None:
        by_time = np.argsort(labels.since)
        order = by_time[order_by(labels.keys[by_time])]
        self.labels = labels = labels.pick(order)
        self.until = np.full(len(labels), STANDS)
        new = differs(labels.keys)
        self._keys = labels.keys[new]
        seconds = labels.since // _SECOND
        self._base = int(seconds.min(initial=2**62)) if len(labels) else 0
        seconds = seconds - self._base
        self._most = int(seconds.max(initial=0)) + 1
        self._bits = (self._most + 1).bit_length()
        self._joined = ((np.cumsum(new) - 1) << self._bits) + seconds
        self._starts = np.flatnonzero(new)
        self._sums: dict[tuple[str, str], Int64s] = {}
        self._pairs: UInt64s = labels.keys * _MULTIPLY ^ labels.events
        self.pairs = np.sort(self._pairs)
        """The pairs of key and event, in order."""

    @property
    def repeated(self) -> UInt64s:
        """The pairs of key and event that are there more than once."""
        return distinct(self.pairs[~differs(self.pairs)])

    def rows_of(self, pairs: UInt64s) -> Indices:
        """Return the positions of labels of these pairs, which are in order."""
        near = np.minimum(np.searchsorted(pairs, self._pairs), len(pairs) - 1)
        return np.flatnonzero(pairs[near] == self._pairs)

    def ranges(
        self, keys: UInt64s, begins: Sequence[Int64s], ends: Sequence[Int64s]
    ) -> list[tuple[Int64s, Int64s]]:
        """Return where the labels of n keys are that count since a time in [begin, end).

        Of each begin, with its end; both are of whole seconds, shape (n,). What is the same array
        for several is looked for once.
        """
        code = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        there = self._keys[code] == keys
        places = {
            id(times): np.where(there, self._place(code, times), 0)
            for times in (*begins, *ends)
        }
        pairs = zip(begins, ends, strict=True)
        found = [(places[id(begin)], places[id(end)]) for begin, end in pairs]
        return [(low, np.maximum(low, high)) for low, high in found]

    def _place(self, code: Int64s, time: Int64s) -> Int64s:
        seconds = np.minimum(np.maximum(time // _SECOND - self._base, 0), self._most)
        if not seconds.any():
            # No label is as old: nothing to look for.
            return self._starts[code]
        return np.searchsorted(self._joined, (code << self._bits) + seconds)

    def fold(self, ask: Ask, low: Int64s, high: Int64s) -> Int64s:
        """Return what is asked of all labels in ranges of positions; of a min, turned."""
        fold = ask.fold if is_sum(ask.fold) else "sum"
        if (fold, ask.column) not in self._sums:
            values = summands(self.labels.columns[ask.column], fold)
            self._sums[fold, ask.column] = exclusive(values)
        sums = self._sums[fold, ask.column]
        if is_sum(ask.fold):
            return sums[high] - sums[low]
        found = np.full(len(low), NONE)
        some = np.flatnonzero(sums[high] > sums[low])
        if ask.fold == "max":
            at = np.searchsorted(sums, sums[high[some]]) - 1
            found[some] = self.labels.since[at]
        else:
            at = np.searchsorted(sums, sums[low[some]], "right") - 1
            found[some] = turned(self.labels.since[at])
        return found

    def fold_each(self, ask: Ask, low: Int64s, high: Int64s, end: Int64s) -> Int64s:
        """Return the same, looking at each label: without those that were replaced before `end`."""
        at, step = repeats(high - low)
        rows = low[at] + step
        values = self.labels.columns[ask.column][rows]
        stands = self.until[rows] >= end[at]
        if is_sum(ask.fold):
            found = np.zeros(len(low), np.int64)
            np.add.at(found, at, np.where(stands, summands(values, ask.fold), 0))
            return found
        found = np.full(len(low), NONE)
        since = self.labels.since[rows]
        since = turned(since) if ask.fold == "min" else since
        np.maximum.at(found, at, np.where(stands & (values > 0), since, NONE))
        return found

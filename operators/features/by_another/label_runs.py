"""Label runs: labels in order, and what is asked of ranges of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.finding import Finder
from operators.columns.grouping import differs, distinct, order_by
from operators.columns.ranges import repeats
from operators.state.folds import NONE, Ask, Fold, is_sum, summands, turned

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

    def pick(self, rows: Indices) -> "Labels":
        """Return those at some positions, in their order."""
        columns = {name: each.take(rows) for name, each in self.columns.items()}
        return Labels(
            self.keys.take(rows), self.events.take(rows), self.since.take(rows),
            self.places.take(rows), self.new.take(rows), columns,
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
    """Labels as they came, and their order by (key, since): a range of time is a range of it."""

    def __init__(self, labels: Labels, order: Indices, until: Int64s) -> None:
        """`until` says of each label when another has replaced it; STANDS where none has."""
        self.labels, self.until, self._order = labels, until, order
        self._ordered = labels.keys.take(order)
        self._since = labels.since.take(order)
        self._new = differs(self._ordered)
        self._totals: dict[tuple[tuple[Fold, str], ...], Int64s] = {}

    @classmethod
    def of(cls, labels: Labels) -> "Run":
        """Return labels that are new as a run."""
        by_time = np.argsort(labels.since)
        order = by_time.take(order_by(labels.keys.take(by_time)))
        return cls(labels, order, np.full(len(labels), STANDS))

    @classmethod
    def merged(cls, runs: "Sequence[Run]", before: int) -> "Run":
        """Return those of runs as one, the oldest first, without labels that count since `before`.

        That is a time in µs.
        """
        runs = [run for run in runs if len(run.labels)] or runs[:1]
        if len(runs) == 1:
            return runs[0]
        labels = Labels.joined([run.labels for run in runs])
        until = np.concatenate([run.until for run in runs])
        starts = np.cumsum([0, *(len(run.labels) for run in runs)]).tolist()
        order = np.concatenate([r._order + at for r, at in zip(runs, starts, strict=False)])
        # Timsort finds that there are sorted runs of keys, and merges them. What came later
        # counts later, but for some.
        keys = np.concatenate([run._ordered for run in runs])
        order = order.take(np.argsort(keys, kind="stable"))
        if int(labels.since.min()) < before:
            kept = labels.since >= before
            order = (np.cumsum(kept) - 1).take(order[kept.take(order)])
            at = np.flatnonzero(kept)
            labels, until = labels.pick(at), until.take(at)
        made = cls(labels, order, until)
        if (made._since[1:] < made._since[:-1])[~made._new[1:]].any():
            return cls(labels, np.lexsort((labels.since, labels.keys)), until)
        return made

    @cached_property
    def _codes(self) -> Int64s:
        """The place of each key's first label in the order."""
        return np.flatnonzero(self._new)

    @cached_property
    def _by_key(self) -> Finder:
        return Finder(self._ordered.take(self._codes))

    @cached_property
    def _by_time(self) -> "_ByTime":
        return _ByTime(self._new, self._since)

    @cached_property
    def _pairs(self) -> UInt64s:
        return self.labels.keys * _MULTIPLY ^ self.labels.events

    @cached_property
    def _in_order(self) -> UInt64s:
        return np.sort(self._pairs)

    @cached_property
    def _by_pair(self) -> Finder:
        return Finder(self._in_order)

    @property
    def repeated(self) -> UInt64s:
        """The pairs of key and event that are there more than once."""
        return distinct(self._in_order[~differs(self._in_order)])

    def shared(self, other: "Run") -> UInt64s:
        """Return the pairs of another run that are there as well."""
        if not len(self.labels):
            return self._in_order[:0]
        pairs = other._pairs
        near = np.minimum(self._by_pair.places(pairs), len(self._in_order) - 1)
        found: UInt64s = pairs[self._in_order.take(near) == pairs]
        return found

    def rows_of(self, pairs: UInt64s) -> Indices:
        """Return the positions of labels of these pairs, which are in order."""
        near = np.minimum(np.searchsorted(pairs, self._pairs), len(pairs) - 1)
        return np.flatnonzero(pairs[near] == self._pairs)

    @property
    def replaced(self) -> UInt64s:
        """The keys that have a label which another has replaced."""
        return distinct(self.labels.keys[self.until < STANDS])

    def ranges(
        self, keys: UInt64s, begins: Sequence[Int64s], ends: Sequence[Int64s]
    ) -> list[tuple[Int64s, Int64s]]:
        """Return where in the order the labels of n keys are that count since in [begin, end).

        Of each begin, with its end; both are of whole seconds, shape (n,). What is the same array
        for several is looked for once, and is the same one again.
        """
        code = np.minimum(self._by_key.places(keys), len(self._codes) - 1)
        first = self._codes.take(code)
        none = np.flatnonzero(self._ordered.take(first) != keys)
        every = {id(times): times for times in (*begins, *ends)}
        places = {}
        for name, times in every.items():
            # Where no label is as old there is nothing to look for.
            found = self._by_time.places(code, times)
            places[name] = first.copy() if found is None else found
            places[name][none] = 0
        pairs = [
            (places[id(begin)], places[id(end)])
            for begin, end in zip(begins, ends, strict=True)
        ]
        return [
            (low, np.maximum(low, high) if (low > high).any() else high) for low, high in pairs
        ]

    def fold(
        self, asks: Sequence[Ask], ranges: Sequence[tuple[Int64s, Int64s]]
    ) -> list[Int64s]:
        """Return what is asked of all labels in ranges of the order; of a min, turned."""
        names = tuple(dict.fromkeys((ask.fold, ask.column) for ask in asks))
        totals = self._totals_of(names)
        every = {id(places): places for each in ranges for places in each}
        # All that is asked of a place lies together.
        rows = {name: totals.take(places, axis=0) for name, places in every.items()}
        found = []
        for ask in asks:
            at = names.index((ask.fold, ask.column))
            low, high = ranges[ask.horizon]
            if is_sum(ask.fold):
                found.append(rows[id(high)][:, at] - rows[id(low)][:, at])
                continue
            last = ask.fold == "max"
            place = rows[id(high if last else low)][:, at]
            none = place < low if last else place >= high
            since = self._since.take(place, mode="clip")
            found.append(np.where(none, NONE, since if last else turned(since)))
        return found

    def _totals_of(self, names: tuple[tuple[Fold, str], ...]) -> Int64s:
        """Return a row for each place of the order and behind it, with a number for each name.

        These are folds of columns. It is the sum of all before; of a max the last place before
        that is not 0, of a min the first one from there on.
        """
        if names in self._totals:
            return self._totals[names]
        n = len(self.labels)
        totals = np.empty((n + 1, len(names)), np.int64)
        for at, (fold, column) in enumerate(names):
            values = self.labels.columns[column].take(self._order)
            if is_sum(fold):
                totals[0, at] = 0
                np.cumsum(summands(values, fold), out=totals[1:, at])
            elif fold == "max":
                totals[0, at] = -1
                places = np.where(values > 0, np.arange(n), -1)
                np.maximum.accumulate(places, out=totals[1:, at])
            else:
                totals[n, at] = n
                places = np.where(values > 0, np.arange(n), n)[::-1]
                np.minimum.accumulate(places, out=totals[:n, at][::-1])
        self._totals = {names: totals}
        return totals

    def fold_each(self, ask: Ask, low: Int64s, high: Int64s, end: Int64s) -> Int64s:
        """Return the same, looking at each label: without those that were replaced before `end`."""
        at, step = repeats(high - low)
        rows = self._order[low[at] + step]
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


class _ByTime:
    """Finds places in the order of labels by (key, since), in whole seconds."""

    def __init__(self, new: Bools, since: Int64s) -> None:
        """Take labels in that order; `new` tells of each whether it is the first of its key."""
        seconds = since // _SECOND
        self._base = int(seconds.min(initial=2**62))
        seconds -= self._base
        self._most = int(seconds.max(initial=0)) + 1
        self._bits = (self._most + 1).bit_length()
        self._finder = Finder(((np.cumsum(new) - 1) << self._bits) + seconds)

    def places(self, codes: Int64s, times: Int64s) -> Int64s | None:
        """Return how many labels are before times in µs of keys by number; None: none of theirs."""
        seconds = times // _SECOND
        seconds -= self._base
        np.maximum(seconds, 0, out=seconds)
        if not seconds.any():
            return None
        np.minimum(seconds, self._most, out=seconds)
        seconds += codes << self._bits
        return self._finder.places(seconds)

"""Closed panes: in order, and asked for ranges of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.finding import Finder
from operators.columns.grouping import differs, distinct, order_by
from operators.columns.ranges import repeats
from operators.records.batches import NO_WATERMARK
from operators.state.folds import NONE, Ask, Ranges, exclusive

_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(slots=True)
class Run:
    """Rows of keys and panes: parallel arrays. `new` are those that no snapshot's entry has."""

    keys: UInt64s
    starts: Int64s
    new: Bools
    columns: dict[str, Int64s]

    def __len__(self) -> int:
        return len(self.keys)

    def pick(self, rows: Indices) -> "Run":
        """Return the rows at some positions, in their order."""
        columns = {name: each.take(rows) for name, each in self.columns.items()}
        return Run(self.keys.take(rows), self.starts.take(rows), self.new.take(rows), columns)

    def cut(self, rows: slice) -> "Run":
        """Return the rows of a slice."""
        columns = {name: each[rows] for name, each in self.columns.items()}
        return Run(self.keys[rows], self.starts[rows], self.new[rows], columns)

    @classmethod
    def joined(cls, runs: Sequence["Run"]) -> "Run":
        """Return the rows of one run after the other."""
        if len(runs) == 1:
            return runs[0]
        return cls(
            np.concatenate([run.keys for run in runs]),
            np.concatenate([run.starts for run in runs]),
            np.concatenate([run.new for run in runs]),
            {
                name: np.concatenate([run.columns[name] for run in runs])
                for name in runs[0].columns
            },
        )


class Closed:
    """Rows of closed panes by (key, start).

    To tell how many values differ, a value counts in the first pane of a range that has it: the
    one whose row says that the value was last there before the range.
    """

    def __init__(self, pane: int, empty: Run, value: str | None) -> None:
        """`pane` is a pane's length in µs; `value` is the column of the values that may differ."""
        self.run = empty
        self._pane, self._value = pane, value
        # When a pair of key and value was last there, by its hash, and before each row.
        self._pairs, self._last = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._previous = np.empty(0, np.int64)
        self._index()

    def _index(self) -> None:
        run = self.run
        new = differs(run.keys)
        self._keys = run.keys[new]
        self._base = int(run.starts.min()) // self._pane if len(run) else 0
        panes = run.starts // self._pane - self._base
        self._most = int(panes.max(initial=0)) + 1
        self._bits = (self._most + 1).bit_length()
        self._by_key = Finder(self._keys)
        self._by_pane = Finder(((np.cumsum(new) - 1) << self._bits) + panes)
        self._ranges = Ranges(run.columns)
        self._counts: dict[int, Int64s] = {}

    def add(self, rows: Run, before: int) -> None:
        """Take rows of panes that are closed now; forget those that start `before` a time in µs."""
        previous = self._previous_of(rows) if self._value else rows.starts
        kept = np.flatnonzero(self.run.starts >= before)
        there, earlier = self.run.pick(kept), self._previous.take(kept)
        fine = rows.starts >= before
        if not fine.all():
            rows, previous = rows.pick(np.flatnonzero(fine)), previous[fine]
        if len(there):
            joined = Run.joined([there, rows])
            # Timsort finds that there are two sorted runs of keys, and merges them in one pass.
            order = np.argsort(joined.keys, kind="stable")
            rows, previous = joined.pick(order), np.concatenate((earlier, previous)).take(order)
        # Of a key the rows that were there are of earlier panes, but for some.
        if (np.diff(rows.starts)[~differs(rows.keys)[1:]] < 0).any():
            order = np.lexsort((rows.starts, rows.keys))
            rows, previous = rows.pick(order), previous.take(order)
        self.run, self._previous = rows, previous
        if self._value:
            still = self._last >= before
            self._pairs, self._last = self._pairs[still], self._last[still]
        self._index()

    def _previous_of(self, rows: Run) -> Int64s:
        """Return in which pane each row's value was before; note that it is there now."""
        values = rows.columns[str(self._value)].view(np.uint64)
        pairs = (rows.keys * _MULTIPLY) ^ (values + (rows.keys >> np.uint64(29)))
        order = order_by(pairs, rows.starts // self._pane)
        pairs, starts = pairs[order], rows.starts[order]
        first = differs(pairs)
        before = np.full(len(pairs), NO_WATERMARK)
        before[1:] = np.where(first[1:], NO_WATERMARK, starts[:-1])
        at = np.searchsorted(self._pairs, pairs[first])
        known = np.zeros(len(at), bool)
        if len(self._pairs):
            known = self._pairs[np.minimum(at, len(self._pairs) - 1)] == pairs[first]
        places = np.flatnonzero(first)
        before[places[known]] = self._last[at[known]]
        newest = starts[np.append(first[1:], True)] if len(starts) else starts
        self._last[at[known]] = newest[known]
        self._pairs = np.insert(self._pairs, at[~known], pairs[first][~known])
        self._last = np.insert(self._last, at[~known], newest[~known])
        previous = np.empty_like(before)
        previous[order] = before
        return previous

    def ask(
        self, asks: Sequence[Ask], keys: UInt64s, begin: Int64s, end: Int64s
    ) -> list[Int64s]:
        """Return what is asked of the panes of n keys in [begin, end), shape (n,) each."""
        if not len(self.run):
            return [np.full(len(keys), NONE if ask.fold == "max" else 0) for ask in asks]
        code = np.minimum(self._by_key.places(keys), len(self._keys) - 1)
        none = np.flatnonzero(self._keys.take(code) != keys)
        low = self._place(code, none, begin)
        high = self._place(code, none, np.maximum(begin, end))
        return [self._fold(ask, begin, low, high) for ask in asks]

    def _place(self, code: Int64s, none: Indices, start: Int64s) -> Int64s:
        """Return how many rows are of an earlier key, or of it and before a start."""
        panes = -(-start // self._pane) - self._base
        np.maximum(panes, 0, out=panes)
        np.minimum(panes, self._most, out=panes)
        panes += code << self._bits
        found = self._by_pane.places(panes)
        found[none] = 0
        return found

    def _fold(self, ask: Ask, begin: Int64s, low: Int64s, high: Int64s) -> Int64s:
        if ask.fold == "max":
            return self._ranges.largest(ask, low, high)
        if ask.fold == "sum":
            sums = self._ranges.sums(ask.column)
            return sums[high] - sums[low]
        return self._first(begin, low, high)

    def _first(self, begin: Int64s, low: Int64s, high: Int64s) -> Int64s:
        """Return how many rows in [low, high) have a value that was last there before `begin`."""
        sizes = high - low
        begins = distinct(begin).tolist()
        lacking = len({*begins} - self._counts.keys())
        if int(sizes.sum()) < lacking * len(self.run):
            at, step = repeats(sizes)
            first = self._previous[low[at] + step] < begin[at]
            return np.bincount(at[first], minlength=len(low))
        found = np.zeros(len(low), np.int64)
        for one in begins:
            mine = begin == one
            if one not in self._counts:
                self._counts[one] = exclusive(self._previous < one)
            counts = self._counts[one]
            found[mine] = counts[high[mine]] - counts[low[mine]]
        return found

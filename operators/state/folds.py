"""Sliding: what lies within ranges of sorted events, folded into an answer for each range."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Indices, Int64s
from operators.columns.grouping import distinct, order_by
from operators.columns.ranges import repeats
from operators.state.squares import DIGITS, Digit, digits

NONE: Final = np.iinfo(np.int64).min
"""A value that is not there, in columns of which the largest, the smallest or how many differ
is asked for; also the answer where there is none."""

Fold = Literal["count", "sum", "max", "min", "distinct"] | Digit

_PAIRS_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of the events of a range: a fold of a column of theirs.

    `horizon` is the place of the range's lower end among those that there are; a count has no
    column. `inclusive` tells whether the present event is one of them; only to be said where
    values differ, as it is added to all others by who asks.
    """

    horizon: int
    fold: Fold
    column: str = ""
    inclusive: bool = False


Rows: TypeAlias = Indices | slice


def exclusive(values: npt.NDArray[np.integer]) -> Int64s:
    """Return n + 1 running totals: entry i is the sum of the first i values."""
    totals = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=totals[1:])
    return totals


def is_sum(fold: Fold) -> TypeGuard[Literal["sum"] | Digit]:
    """Tell whether a fold adds up what `summands` are of the values."""
    return fold == "sum" or fold in DIGITS


def summands(values: Int64s, fold: Literal["sum"] | Digit) -> Int64s:
    """Return what a fold adds up: the values, or a digit of each."""
    return values if fold == "sum" else digits(values, fold)


def turned(values: Int64s) -> Int64s:
    """Return values in the order turned round, so that the smallest is the largest; and back."""
    return np.where(values == NONE, NONE, ~values)


class Ranges:
    """Answers over ranges of positions in events sorted by (key, time)."""

    def __init__(self, columns: Mapping[str, Int64s]) -> None:
        """`columns` are the events' values by name, each of shape (m,)."""
        self._columns = columns
        self._sums: dict[tuple[str, str], Int64s] = {}
        self._tables: dict[tuple[str, str], list[Int64s]] = {}

    def sums(self, column: str, fold: Literal["sum"] | Digit = "sum") -> Int64s:
        """Return the running totals of a column, or of a digit of its numbers."""
        if (fold, column) not in self._sums:
            values = summands(self._columns[column], fold)
            # Of most digits there is nothing: no need to add them up.
            none = fold != "sum" and not values.any()
            totals = (
                np.broadcast_to(np.int64(0), len(values) + 1) if none else exclusive(values)
            )
            self._sums[fold, column] = totals
        return self._sums[fold, column]

    def largest(self, ask: Ask, begin: Int64s, high: Int64s) -> Int64s:
        """Return the largest value of each range, NONE of an empty one; of a min, turned."""
        found = np.full(len(begin), NONE)
        rows = np.flatnonzero(high > begin)
        if len(rows) == 0:
            return found
        begin, width = begin[rows], (high - begin)[rows]
        level = np.frexp(width.astype(np.float64))[1] - 1
        table = self._table(ask, int(level.max()))
        for each in range(len(table)):
            of = np.flatnonzero(level == each)
            low = begin[of]
            found[rows[of]] = np.maximum(
                table[each][low], table[each][low + width[of] - (1 << each)]
            )
        return found

    def _table(self, ask: Ask, levels: int) -> list[Int64s]:
        """Return the largest of each 1, 2, 4, … values in a row: two of them cover any range."""
        values = self._columns[ask.column]
        table = self._tables.setdefault(
            (ask.fold, ask.column), [turned(values) if ask.fold == "min" else values]
        )
        while len(table) <= levels:
            half = 1 << (len(table) - 1)
            table.append(np.maximum(table[-1][:-half], table[-1][half:]))
        return table

    def values(self, ask: Ask) -> Int64s:
        """Return a column."""
        return self._columns[ask.column]


class Answers:
    """The answers to what is asked, for n events, from ranges in several sorted runs."""

    def __init__(self, asks: Sequence[Ask], size: int) -> None:
        self._asks = asks
        self._found = [
            np.full(size, NONE if ask.fold in ("max", "min") else 0, np.int64) for ask in asks
        ]
        self._differ: list[list[tuple[Indices, Int64s, Int64s, Int64s]]] = [[] for _ in asks]
        self._size = size

    def take(self, ranges: Ranges, rows: Rows, begins: Sequence[Int64s], high: Int64s) -> None:
        """Take ranges of positions for the events at `rows`, ascending.

        `begins` has the ranges' lower ends by horizon, `high` their upper ends (exclusive),
        shape (n,) each, or that of `rows`.
        """
        for at, (ask, found) in enumerate(zip(self._asks, self._found, strict=True)):
            begin = begins[ask.horizon]
            if ask.fold == "count":
                found[rows] += high - begin
            elif is_sum(ask.fold):
                sums = ranges.sums(ask.column, ask.fold)
                found[rows] += sums.take(high) - sums.take(begin)
            elif ask.fold == "distinct":
                places = np.arange(self._size)[rows]
                self._differ[at].append((places, begin, high, ranges.values(ask)))
            else:
                found[rows] = np.maximum(found[rows], ranges.largest(ask, begin, high))

    def all(self, columns: Mapping[str, Int64s]) -> list[Int64s]:
        """Return the answers, shape (n,) each; `columns` are the n events' own values."""
        for at, ask in enumerate(self._asks):
            if ask.fold == "distinct":
                own = columns[ask.column] if ask.inclusive else None
                self._found[at] = self._distinct(self._differ[at], own)
        return self._found

    def _distinct(
        self, ranges: Sequence[tuple[Indices, Int64s, Int64s, Int64s]], own: Int64s | None
    ) -> Int64s:
        """Return how many values differ, looking at each value of each range."""
        width = np.zeros(self._size, np.int64)
        for places, begin, high, _ in ranges:
            width[places] += high - begin
        found = np.zeros(self._size, np.int64)
        # In pieces, so that memory is bounded.
        piece = np.cumsum(width) // _PAIRS_AT_ONCE
        edges = np.append(np.flatnonzero(np.diff(piece, prepend=-1)), self._size)
        for first, end in pairwise(edges.tolist()):
            rows, values = [], []
            for places, begin, high, column in ranges:
                some = slice(*np.searchsorted(places, (first, end)))
                at, step = repeats(high[some] - begin[some])
                rows.append(places[some][at])
                values.append(column[begin[some][at] + step])
            if own is not None:
                rows.append(np.arange(first, end))
                values.append(own[first:end])
            found[first:end] = _differing(
                np.concatenate(rows) - first, np.concatenate(values), end - first
            )
        return found


def _differing(rows: Indices, values: Int64s, size: int) -> Int64s:
    """Return how many values differ in each of `size` rows; NONE is no value."""
    there = values != NONE
    rows, values = rows[there], values[there]
    order = order_by(values.view(np.uint64), rows)
    rows, values = rows[order], values[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]) | (values[1:] != values[:-1])
    return np.bincount(rows[new], minlength=size)


class Index:
    """Finds positions in events sorted by (run, time), by one search on a joined key."""

    def __init__(
        self, codes: Int64s, times: Int64s, runs: Indices, asked: Int64s, lows: Sequence[Int64s]
    ) -> None:
        self._runs = runs
        # Run and time share 63 bits, times counted from the first one asked for. Where they
        # span too long for that, their ranks take their place.
        base = min(int(low.min()) for low in lows)
        base = max(base, int(times.min()) - 1)
        span = max(int(asked.max()), int(times.max())) - base
        self._bits = max(span.bit_length(), 1)
        self._base = base
        self._ranks: Int64s | None = None
        if self._bits + int(runs[-1] + 1).bit_length() > 62:
            self._ranks = distinct(times)
            self._bits = max(len(self._ranks).bit_length(), 1)
        self._joined = self._join(codes, times)

    def _join(self, codes: Int64s, times: Int64s) -> Int64s:
        if self._ranks is not None:
            local = np.searchsorted(self._ranks, times, "right")
        else:
            # As np.clip does, which costs a few µs more of finding out about its types.
            local = np.minimum(np.maximum(times - self._base, 0), (1 << self._bits) - 1)
        return (codes << self._bits) + local

    def at_most(self, times: Int64s) -> Int64s:
        """Return how many events lie before each run's or in it with a time <= `times`."""
        return np.searchsorted(self._joined, self._join(self._runs, times), "right")

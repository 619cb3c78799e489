"""An index of rows by key that grows by batches: sorted runs, merged as they fill."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.ranges import repeats

_RATIO: Final = 4


class KeyIndex:
    """Finds the ids of rows by their key's hash.

    Ids only grow, so within a key they are in order. The runs are sorted by (key, id); a new
    one is merged into the one before it until that is `_RATIO` times larger, so a row is moved
    a few times in its life and a look-up searches a few runs.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[UInt64s, Int64s]] = []

    def add(self, keys: UInt64s, first: int, kept: Callable[[Int64s], Bools]) -> None:
        """Take rows with the ids first, first + 1, …; a merge drops the ids not `kept`."""
        order = np.argsort(keys, kind="stable")
        run = keys[order], order + np.int64(first)
        while self._runs and len(self._runs[-1][0]) < _RATIO * len(run[0]):
            run = _merged(self._runs.pop(), run, kept)
        self._runs.append(run)

    def find(self, keys: UInt64s, low: Int64s, high: Int64s) -> tuple[Int64s, Int64s]:
        """Return (position in `keys`, id) of each key's ids in [low, high); shapes (n,)."""
        places, found = [], []
        for run_ids, at, left, right in self._spans(keys):
            begin = _lower_bound(run_ids, left, right, low[at])
            size = _lower_bound(run_ids, begin, right, high[at]) - begin
            which, step = repeats(size)
            places.append(at[which])
            found.append(run_ids[begin[which] + step])
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate(places), np.concatenate(found)

    def newest(self, keys: UInt64s, high: Int64s) -> Int64s:
        """Return each key's largest id below `high`, -1 where there is none; shape (n,)."""
        best = np.full(len(keys), -1, np.int64)
        for run_ids, at, left, right in self._spans(keys):
            end = _lower_bound(run_ids, left, right, high[at])
            some = end > left
            best[at[some]] = np.maximum(best[at[some]], run_ids[end[some] - 1])
        return best

    def _spans(self, keys: UInt64s) -> Iterator[tuple[Int64s, Int64s, Int64s, Int64s]]:
        """Yield of each run that has any of the keys its ids, and what `_spans` finds in it."""
        order = np.argsort(keys)
        for run_keys, run_ids in self._runs:
            at, left, right = _spans(run_keys, keys[order])
            if len(at):
                yield run_ids, order[at], left, right


def _merged(
    older: tuple[UInt64s, Int64s],
    newer: tuple[UInt64s, Int64s],
    kept: Callable[[Int64s], Bools],
) -> tuple[UInt64s, Int64s]:
    keys = np.concatenate((older[0], newer[0]))
    ids = np.concatenate((older[1], newer[1]))
    keep = kept(ids)
    if not keep.all():
        keys, ids = keys[keep], ids[keep]
    # Two sorted runs in a row: a stable sort finds and merges them. Ids grow from run to run.
    order = np.argsort(keys, kind="stable")
    return keys[order], ids[order]


def _spans(run: UInt64s, keys: UInt64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return (position in the sorted `keys`, begin, end) for each key that `run` holds."""
    left = np.searchsorted(run, keys, "left")
    at = np.flatnonzero(left < len(run))
    at = at[run[left[at]] == keys[at]]
    return at, left[at], np.searchsorted(run, keys[at], "right")


def _lower_bound(values: Int64s, begin: Int64s, end: Int64s, target: Int64s) -> Int64s:
    """Return the first place in each [begin, end) whose value is not below its target."""
    low, high = begin.copy(), end.copy()
    active = np.flatnonzero(low < high)
    while len(active):
        middle = (low[active] + high[active]) >> 1
        below = values[middle] < target[active]
        low[active[below]] = middle[below] + 1
        high[active[~below]] = middle[~below]
        active = active[low[active] < high[active]]
    return low

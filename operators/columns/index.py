"""An index of rows by key that grows by batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.ranges import repeats
from operators.columns.sorted_runs import SortedRuns


@dataclass(frozen=True, slots=True)
class _Run:
    """Ids sorted by (key, id); parallel arrays."""

    keys: UInt64s
    ids: Int64s

    def __len__(self) -> int:
        return len(self.keys)


class KeyIndex:
    """Finds the ids of rows by their key's hash.

    Ids only grow, so within a key they are in order.
    """

    def __init__(self, kept: Callable[[Int64s], Bools] | None = None) -> None:
        """`kept` tells which ids, shape (n,), are still to be found; others may be dropped."""
        self._kept = kept
        self._runs = SortedRuns(self._merged)

    def add(self, keys: UInt64s, first: int) -> None:
        """Take rows with ids from `first` on, one after the other."""
        order = np.argsort(keys, kind="stable")
        self._runs.add(_Run(keys[order], order + np.int64(first)))

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
        for run in self._runs:
            at, left, right = _spans(run.keys, keys[order])
            if len(at):
                yield run.ids, order[at], left, right

    def _merged(self, runs: Sequence[_Run]) -> _Run:
        keys = np.concatenate([run.keys for run in runs])
        ids = np.concatenate([run.ids for run in runs])
        if self._kept is not None and not (keep := self._kept(ids)).all():
            keys, ids = keys[keep], ids[keep]
        # A stable sort finds the runs and merges them. Ids grow from run to run.
        order = np.argsort(keys, kind="stable")
        return _Run(keys[order], ids[order])


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

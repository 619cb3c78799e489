"""Sliding sums: what rows come to in the panes on end that each is in, not laid out one by one.

Where windows overlap a row is in size / every panes. Numbers are added where a run begins and
taken off where it ends; only extremes are gone over pane by pane.

Two rows of one key, 10 in the panes 0, 1 and 2 and 5 in 1, 2 and 3. The second adds one pane to
those that there are. As a line of steps the sums are +10 +5 0 -10 -5: each row is met twice, in
however many panes it is.

>>> begins, times = np.array([0, 1]), np.array([3, 3])
>>> first, more = beyond(begins, times)
>>> first.tolist(), more.tolist()
([0, 3], [3, 1])
>>> over("sum", np.array([10, 5]), begins, times, panes=4).tolist()
[10, 15, 15, 5]

Of the one value 7 that both rows have, each pane has one:

>>> different(begins, times, np.array([7, 7]), panes=4).tolist()
[1, 1, 1, 1]
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from operators.columns.arrays import Int64s
from operators.columns.grouping import differs
from operators.columns.ranges import repeats

SAFE: Final = 2.0**62
"""What whole numbers are kept below, so that no arithmetic on them overflows."""

_ADDED_BY: Final = {"min": np.minimum, "max": np.maximum}


def summed(
    numbers: Mapping[str, Int64s], keys: Int64s
) -> tuple[Int64s, Int64s, dict[str, Int64s]]:
    """Add up the rows of each key.

    Return a row of each key, ascending by it; for each row the place of its key among these;
    and the sums in their order.
    """
    order = np.argsort(keys)
    new = differs(keys[order])
    starts = np.flatnonzero(new)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    sums = {
        name: _ADDED_BY.get(name[:3], np.add).reduceat(values[order], starts)
        for name, values in numbers.items()
    }
    return order[starts], place, sums


def beyond(begins: Int64s, times: Int64s) -> tuple[Int64s, Int64s]:
    """Return what each run adds to those before it: where that begins, and how many places.

    Run i is of the `times[i]` places from `begins[i]`, which ascend.
    """
    ends = begins + times
    first = begins.copy()
    np.maximum(first[1:], np.maximum.accumulate(ends)[:-1], out=first[1:])
    return first, np.maximum(ends - first, 0)


def different(begins: Int64s, times: Int64s, values: Int64s, panes: int) -> Int64s | None:
    """Return how many different values each pane has, shape (panes,).

    Each value is in `times` panes on end from `begins`. None where that takes numbers of more
    than 62 bits.
    """
    bits = int(times.max(initial=0)).bit_length()
    if (int(values.max(initial=0)) + 1) * panes > SAFE / 2**bits:
        return None
    # Of each value its own stretch of a line, so that runs of different ones do not touch.
    runs = np.sort((values * panes + begins) << bits | times)
    first, more = beyond(runs >> bits, runs & ((1 << bits) - 1))
    first %= panes
    ones = np.bincount(first, minlength=panes + 1)
    return np.cumsum(ones - np.bincount(first + more, minlength=panes + 1))[:panes]


def over(name: str, values: Int64s, begins: Int64s, times: Int64s, panes: int) -> Int64s:
    """Return each pane's sum, least or most, by the first letters of `name`, shape (panes,).

    Each value is in `times` panes on end from `begins`, and each pane has one.
    """
    add = _ADDED_BY.get(name[:3])
    if add is None:
        steps = np.zeros(panes + 1, np.int64)
        np.add.at(steps, begins, values)
        np.subtract.at(steps, begins + times, values)
        return np.cumsum(steps)[:panes]
    limits = np.iinfo(np.int64)
    found = np.full(panes, limits.max if add is np.minimum else limits.min)
    at, step = repeats(times)
    add.at(found, begins[at] + step, values[at])
    return found

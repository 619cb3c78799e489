"""The part of a sliding history that lies within the batch itself."""

from collections.abc import Mapping, Sequence

import numpy as np

from operators.columns.arrays import Indices, Int64s
from operators.columns.grouping import Sorted, differs, distinct
from operators.state.folds import Answers, Index, Ranges, exclusive


def earlier_in_batch(
    answers: Answers,
    rows: Sorted,
    times: Int64s,
    columns: Mapping[str, Int64s],
    bounds: Sequence[Int64s],
) -> None:
    """Take for each event the earlier ones of its key in the batch itself.

    `rows` are the batch sorted by key; `times` (µs) and `columns` are in its order, `bounds` the
    times that events must be above, one array for each horizon.
    """
    here = np.arange(len(times))
    backwards = np.flatnonzero((rows.runs[1:] == rows.runs[:-1]) & (times[1:] < times[:-1]))
    index = Index(rows.runs, times, rows.runs, times, bounds)
    first = rows.starts[rows.runs]
    begins = [np.minimum(np.maximum(index.at_most(low), first), here) for low in bounds]
    if len(backwards) == 0:
        answers.take(Ranges(columns), slice(None), begins, here)
        return
    # Where a key's events arrive out of order its run is not sorted by time, and the search
    # above does not hold for that key.
    disordered = np.zeros(len(rows.starts), bool)
    disordered[rows.runs[backwards]] = True
    mask = disordered[rows.runs]
    at = np.flatnonzero(mask)
    # Of theirs the ranges are empty: cheaper than to pick all others.
    begins = [np.where(mask, here, begin) for begin in begins]
    answers.take(Ranges(columns), slice(None), begins, here)
    some = {name: column[at] for name, column in columns.items()}
    _disordered(answers, at, rows.runs[at], times[at], some, [low[at] for low in bounds])


def _disordered(
    answers: Answers,
    places: Indices,
    runs: Indices,
    times: Int64s,
    columns: Mapping[str, Int64s],
    lows: Sequence[Int64s],
) -> None:
    """Do the same for any order of times, in O(n log² n).

    As in a merge sort of each run: at each level every right half of a block looks up what its left
    half holds, and over all levels, as many as the longest run needs, each event meets each earlier
    one of its run once.
    """
    n, ranks = len(times), distinct(times)
    starts = np.flatnonzero(differs(runs))
    sizes = np.diff(starts, append=n)
    here = np.arange(n) - np.repeat(starts, sizes)
    bits = len(ranks).bit_length() + 1
    high_rank = np.searchsorted(ranks, times, "right")
    low_ranks = [np.searchsorted(ranks, low, "right") for low in lows]
    size, longest = 1, int(sizes.max())
    while size < longest:
        block = here // (2 * size)
        new = (block[1:] != block[:-1]) | (runs[1:] != runs[:-1])
        base = exclusive(new) << bits
        right = np.flatnonzero((here // size) % 2 == 1)
        left = np.flatnonzero((here // size) % 2 == 0)
        left = left[np.argsort((base + high_rank)[left])]
        keys = (base + high_rank)[left]
        high = np.searchsorted(keys, (base + high_rank)[right], "right")
        begins = [
            np.minimum(np.searchsorted(keys, (base + low_rank)[right], "right"), high)
            for low_rank in low_ranks
        ]
        ranges = Ranges({name: column[left] for name, column in columns.items()})
        answers.take(ranges, places[right], begins, high)
        size *= 2

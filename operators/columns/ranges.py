"""Ranges of different lengths, laid out on end: one row for each place of each of them."""

import numpy as np

from operators.columns.arrays import Int64s


def repeats(sizes: Int64s) -> tuple[Int64s, Int64s]:
    """Return each position as often as `sizes` says, and a count from 0 within each.

    >>> at, step = repeats(np.array([2, 0, 3]))
    >>> at.tolist(), step.tolist()
    ([0, 0, 2, 2, 2], [0, 1, 0, 1, 2])

    So ``begin[at] + step`` are the places of the ranges that start at `begin`.
    """
    at = np.repeat(np.arange(len(sizes)), sizes)
    return at, np.arange(len(at)) - (np.cumsum(sizes) - sizes)[at]

"""Finding: where numbers belong among others that are in order."""

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Int64s


class Finder:
    """Finds places in numbers that are in order, as `np.searchsorted` does, in less time.

    The numbers are cut into as many buckets of equal width as there are, so that what is left to
    look into is a few of them: as long as they lie about evenly, as hashes do, or the times of
    many keys one key after the other. Where they do not it takes as long, but no longer. What is
    looked for may be in any order, which it costs nothing to be.

    >>> Finder(np.array([2, 3, 3, 9])).places(np.array([0, 3, 4, 10])).tolist()
    [0, 1, 3, 4]
    """

    def __init__(self, numbers: npt.NDArray[np.integer]) -> None:
        """Take n ascending numbers, not negative and less than the last of their type."""
        kind, n = numbers.dtype.type, len(numbers)
        top = int(numbers[-1]) if n else 0
        self._shift = kind(max(top.bit_length() - n.bit_length() - 1, 0))
        counts = np.bincount((numbers >> self._shift).view(np.int64))
        self._first = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=self._first[1:])
        self._steps = [(1 << bit) - 1 for bit in range(int(counts.max(initial=0)).bit_length())]
        self._steps.reverse()
        # No number is behind the one at the end.
        self._numbers = np.append(numbers, kind(np.iinfo(kind).max))

    def places(self, sought: npt.NDArray[np.integer]) -> Int64s:
        """Return how many of the numbers are less than each, shape (m,); none is negative."""
        found: Int64s = self._first.take((sought >> self._shift).view(np.int64), mode="clip")
        for step in self._steps:
            less = self._numbers.take(found + step, mode="clip") < sought
            found += less * np.int64(step + 1)
        return found

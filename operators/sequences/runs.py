"""A batch's events by key, and the next event behind each that meets a condition."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from operators.batches import Int64s
from operators.history import Indices, Sorted
from operators.hashing import UInt64s
from operators.index import Mask


@dataclass(frozen=True, slots=True)
class Runs:
    """Events sorted by (key, order): `rows` as in `Sorted`, times and marks in its order.

    `ends` is the position behind each event's key's last one.
    """

    rows: Sorted
    times: Int64s
    marks: Int64s
    ends: Int64s

    @classmethod
    def by(cls, keys: UInt64s, times: Int64s, marks: Int64s) -> Self:
        """Sort n events, n at least 1, that are in order."""
        rows = Sorted.by(keys)
        ends = np.append(rows.starts[1:], len(keys))
        return cls(rows, times[rows.order], marks[rows.order], ends)

    def next(self, met: Mask) -> Indices:
        """Return the first position at or behind each of 0 to n where `met`; n for none.

        The result, of length n + 1, does not stop at a key's end: compare it with `ends`.
        """
        n = len(met)
        places = np.append(np.where(met, np.arange(n), n), n)
        return np.minimum.accumulate(places[::-1])[::-1]

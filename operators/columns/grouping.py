"""Grouping: a batch's rows by key, without losing the order they came in."""

from dataclasses import dataclass
from typing import Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Indices, UInt64s

N = TypeVar("N", bound=np.integer)

_BESIDE: Final = 16
_SPARED: Final = 32


def differs(ordered: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Tell which of numbers in order differ from the one before them, shape (n,)."""
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new


def distinct(numbers: npt.NDArray[N]) -> npt.NDArray[N]:
    """Return each number once, ascending: as `np.unique`, which hashes, in a tenth of its time."""
    ordered = np.sort(numbers, axis=None)
    return ordered[differs(ordered)]


def order_by(
    keys: UInt64s,
    numbers: npt.NDArray[np.integer] | None = None,
    beside: UInt64s | None = None,
) -> Indices:
    """Return the order of rows by key and number, shape (n,): as `np.lexsort`, in less time.

    What is equal in both stays in its order; or, with hashes `beside`, what has the same of these
    comes together, but for a few. Keys are hashes too.
    """
    n = len(keys)
    low = np.zeros(1, np.uint64)
    if numbers is not None and n:
        low = (numbers - numbers.min()).astype(np.uint64)
    bits = int(low.max()).bit_length()
    if beside is None:
        more, last = max(n - 1, 0).bit_length(), np.arange(n, dtype=np.uint64)
    else:
        more, last = _BESIDE, beside >> np.uint64(64 - _BESIDE)
    shift = np.uint64(bits + more)
    if shift <= _SPARED:
        # All in one number: the upper bits of hashes tell nearly all of them from each other.
        packed = keys >> shift << shift | low << np.uint64(more) | last
        if beside is None:
            packed.sort()
            order = (packed & np.uint64((1 << more) - 1)).view(np.int64)
        else:
            order = np.argsort(packed)
        found = keys[order]
        if (found[1:] >= found[:-1]).all():
            return order
    by = [keys] if numbers is None else [low, keys]
    return np.lexsort(by if beside is None else [beside, *by])


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch's rows ordered by (key, arrival), and where each key's run starts.

    `order` maps sorted positions to rows, `starts` holds each run's first position, `runs`
    each position's run number; `keys` is each run's key.
    """

    order: Indices
    starts: Indices
    runs: Indices
    keys: UInt64s

    @classmethod
    def by(cls, keys: UInt64s) -> Self:
        """Order n keys, shape (n,), n at least 1."""
        order = order_by(keys)
        ordered = keys[order]
        new = differs(ordered)
        starts = np.flatnonzero(new)
        return cls(order, starts, np.cumsum(new) - 1, ordered[starts])

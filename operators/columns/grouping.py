"""Grouping: a batch's rows by key, without losing the order they came in."""

from dataclasses import dataclass
from typing import Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Indices, UInt64s

N = TypeVar("N", bound=np.integer)

_BESIDE: Final = 16
_SPARED: Final = 36


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
    keys: UInt64s, numbers: npt.NDArray[np.integer], beside: UInt64s | None = None
) -> Indices:
    """Return the order of rows by key and number, shape (n,): as `np.lexsort`, in less time.

    Of equal ones those come beside each other that have the same hash `beside`, but for a few.
    """
    if len(keys) < 2:
        return np.arange(len(keys))
    low = (numbers - numbers.min()).astype(np.uint64)
    bits = int(low.max()).bit_length()
    more = 0 if beside is None else _BESIDE
    shift = np.uint64(bits + more)
    if shift <= _SPARED:
        # Keys are hashes, of which the upper bits tell nearly all from each other.
        packed = keys >> shift << shift | low << np.uint64(more)
        if beside is not None:
            packed |= beside >> np.uint64(64 - more)
        order = np.argsort(packed)
        found = keys[order]
        if (found[1:] >= found[:-1]).all():
            return order
    order = np.argsort(keys)
    places = np.cumsum(differs(keys[order])).astype(np.uint64)
    if int(places[-1]).bit_length() + bits > 64:
        return np.lexsort((low, keys))
    return order[np.argsort(places << np.uint64(bits) | low[order])]


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
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        new = differs(ordered)
        starts = np.flatnonzero(new)
        return cls(order, starts, np.cumsum(new) - 1, ordered[starts])

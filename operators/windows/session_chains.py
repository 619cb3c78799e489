"""Chains: the records and partials of a key that lie less than a gap apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.columns.frames import alike, stacked, taken
from operators.columns.grouping import differs
from operators.columns.times import in_micros
from operators.windows.accumulators import KEY_HASH
from operators.windows.emission import FIRST, LAST, SESSION
from operators.windows.pieces import Frame
from operators.windows.slices import Slices

_NUMBER_BITS: Final = 20


@dataclass(frozen=True, slots=True)
class Laid:
    """What several frames hold, n rows, laid out by key and slice.

    `order` are their rows, counted through all frames; `new_key` tells where in that order
    another key begins. `slices`, and `first` and `last` event times, in µs, are in that order.
    """

    order: Int64s
    new_key: Bools
    slices: Int64s
    first: Int64s
    last: Int64s


def lay_out(frames: Sequence[pl.DataFrame], by: Sequence[str], step: int) -> Laid:
    """Lay out records, which have `event_time`, and partials, which have FIRST and LAST.

    All have the `by` columns, HASH and a `slice`, of `step` µs.
    """
    hashes = np.concatenate([frame[KEY_HASH].to_numpy() for frame in frames])
    slices = np.concatenate([frame["slice"].to_numpy() for frame in frames])
    ends = []
    for name in (FIRST, LAST):
        ends.append(np.concatenate([
            in_micros(frame[name if name in frame.columns else "event_time"])
            for frame in frames
        ]))  # fmt: skip
    keys = [pl.concat([frame[name] for frame in frames], rechunk=True) for name in by]
    order = _order(hashes, slices // step)
    new_key = _changes(keys, hashes, order)
    if new_key is None:
        ranks = pl.struct(pl.DataFrame(keys), eager=True).rank("dense").to_numpy()
        order = np.lexsort((slices, ranks))
        new_key = np.diff(ranks[order], prepend=-1) != 0
    return Laid(order, new_key, slices[order], ends[0][order], ends[1][order])


def _order(hashes: npt.NDArray[np.uint64], numbers: Int64s) -> Int64s:
    """Return the order by hash, then by slice; keys with hashes alike may be mixed up."""
    numbers = numbers - numbers.min()
    if numbers.max() >> _NUMBER_BITS:
        return np.lexsort((numbers, hashes))
    # One number to sort by is ten times as fast as two.
    low = np.uint64((1 << _NUMBER_BITS) - 1)
    return np.argsort(hashes & ~low | numbers.view(np.uint64))


def _changes(
    by: list[pl.Series], hashes: npt.NDArray[np.uint64], order: Int64s
) -> Bools | None:
    """Tell which rows, in order, have another key than the one before them.

    None if two keys share a hash, or all of it that `_order` looks at: then their rows may
    lie between each other's.
    """
    ordered = hashes[order]
    changes = differs(ordered)
    high = ordered >> np.uint64(_NUMBER_BITS)
    if (changes[1:] & (high[1:] == high[:-1])).any():
        return None
    again = np.flatnonzero(~changes)
    for column in by:
        if not alike(column[order[again]], column[order[again - 1]]).all():
            return None
    return changes


def parted(frame: Frame, over: Bools) -> tuple[Frame, Frame]:
    """Return what of a frame stays, and what is over."""
    if frame is None or not over.any():
        return frame, None
    if over.all():
        return None, frame
    return taken(frame, np.flatnonzero(~over)), taken(frame, np.flatnonzero(over))


def merge_shared(
    store: Slices, partials: Frame, rows: Frame, session: Int64s
) -> tuple[Frame, Frame, Frame]:
    """Return the partials and the rows that are alone in a session, and the others merged.

    Those are one partial a session, with the column SESSION. `session` tells of which each
    partial and then each row is. What is alone stays as it came.
    """
    shared = (np.bincount(session) > 1)[session]
    split, found = height(partials), []
    partials, several = parted(partials, shared[:split])
    if several is not None:
        found.append(told(several, session[:split][shared[:split]]))
    rows, several = parted(rows, shared[split:])
    if several is not None:
        of_each = told(several, session[split:][shared[split:]])
        found.append(store.math(several.schema).reduce(of_each, [SESSION]))
    if not found or store.made is None:
        return partials, rows, None
    names = store.made.columns([SESSION])
    merged = store.made.merge(stacked([each[names] for each in found]), [SESSION])
    return partials, rows, merged


def told(frame: pl.DataFrame, session: Int64s) -> pl.DataFrame:
    """Return records or partials with the session that each is of."""
    return frame.hstack([pl.Series(SESSION, session)])


def both(one: Frame, other: Frame) -> Frame:
    """Return the rows of both frames."""
    if one is None or other is None:
        return other if one is None else one
    return stacked([one, other[one.columns]])


def height(frame: Frame) -> int:
    """Return how many rows there are."""
    return 0 if frame is None else frame.height

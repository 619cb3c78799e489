"""Find the bodies that are not records of a nested schema, all of them side by side.

As `scan` does for flat ones, a step for each item of an array: of all bodies at once that have so
many. What has more items than that is left to the strict reader.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.avro.scan import longs, passed
from operators.avro.wire import Wire
from operators.columns.arrays import Bools, Int64s

_MOST_ITEMS: Final = 256
_Data = npt.NDArray[np.uint8]
_Walked = tuple[Int64s, Bools]
"""The places after values, and whether each is well-formed."""


def well_formed(data: _Data, starts: Int64s, ends: Int64s, fields: Sequence[Wire]) -> Bools:
    """Return a flag for each body: whether it is a record of `fields`, UTF-8 apart.

    Body i is ``data[starts[i]:ends[i]]``; 16 zeros or more stand behind the last. One with long
    arrays may have none, though it is a record.
    """
    return _in_turn(data, starts, ends, fields)[1]


def _in_turn(data: _Data, at: Int64s, ends: Int64s, wires: Sequence[Wire]) -> _Walked:
    good = np.ones(len(at), np.bool_)
    for wire in wires:
        at, fine = _walk(data, at, ends, wire)
        good &= fine
    return at, good


def _walk(data: _Data, at: Int64s, ends: Int64s, wire: Wire) -> _Walked:
    if wire.kind == "union":
        return _branches(data, at, ends, [part.wire for part in wire.parts])
    if wire.null_first is None:
        return _value(data, at, ends, wire)
    pair = [None, wire] if wire.null_first else [wire, None]
    return _branches(data, at, ends, pair, _value)


def _branches(
    data: _Data,
    at: Int64s,
    ends: Int64s,
    branches: Sequence[Wire | None],
    walk: "Callable[[_Data, Int64s, Int64s, Wire], _Walked]" = _walk,
) -> _Walked:
    index, at, good = _long(data, at, ends)
    good &= (index >= 0) & (index < len(branches))
    for number, branch in enumerate(branches):
        mine = np.flatnonzero(good & (index == number))
        if branch is not None and len(mine):
            at[mine], good[mine] = walk(data, at[mine], ends[mine], branch)
    return at, good


def _value(data: _Data, at: Int64s, ends: Int64s, wire: Wire) -> _Walked:
    if wire.kind == "null":
        return at, np.ones(len(at), np.bool_)
    if wire.kind == "record":
        return _in_turn(data, at, ends, [part.wire for part in wire.parts])
    if wire.kind in ("array", "map"):
        return _blocks(data, at, ends, [part.wire for part in wire.parts])
    if wire.kind == "fixed":
        after, fine = at + wire.size, np.ones(len(at), np.bool_)
    else:
        after, fine = passed(data, at, ends, wire)
    return np.minimum(after, ends), fine & (after <= ends)


def _blocks(data: _Data, at: Int64s, ends: Int64s, items: Sequence[Wire]) -> _Walked:
    at, good = at.copy(), np.ones(len(at), np.bool_)
    left = np.zeros(len(at), np.int64)
    open_ = np.arange(len(at))
    for _ in range(_MOST_ITEMS):
        heads = open_[left[open_] == 0]
        if len(heads):
            _begin(data, at, ends, heads, left, good)
            ended = np.zeros(len(at), np.bool_)
            ended[heads] = left[heads] == 0
            open_ = open_[good[open_] & ~ended[open_]]
        if not len(open_):
            return at, good
        at[open_], good[open_] = _in_turn(data, at[open_], ends[open_], items)
        left[open_] -= 1
        open_ = open_[good[open_]]
    good[open_] = False
    return at, good


def _begin(
    data: _Data, at: Int64s, ends: Int64s, heads: Int64s, left: Int64s, good: Bools
) -> None:
    """Read how many items the next blocks of `heads` have into `left`."""
    count, after, fine = _long(data, at[heads], ends[heads])
    sized = np.flatnonzero(count < 0)
    if len(sized):
        _, after[sized], whole = _long(data, after[sized], ends[heads[sized]])
        fine[sized] &= whole
    count = np.abs(count)
    fine &= count >= 0  # the least number has no other sign, and no record so many items
    at[heads], good[heads], left[heads] = after, fine, count


def _long(data: _Data, at: Int64s, ends: Int64s) -> tuple[Int64s, Int64s, Bools]:
    value, after, whole = longs(data, at)
    return value, np.minimum(after, ends), whole & (after <= ends)

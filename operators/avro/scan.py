"""Find the bodies that are not records of their schema, all of them side by side.

One bad body fails a whole call of the bulk decoder. Trying halves takes dozens of calls for
each bad one; walking every body's fields with NumPy, field by field and item by item, takes less
than one more decoding however many are bad. It follows the rules of `wire`, UTF-8 apart.

Every body has a place, which goes on with each field. One that has come past its body's end stays
there, and reads what lies behind: so that is looked at once, in the end. What is wrong with a
value is kept as a byte that is not 0, since operations on bytes cost next to nothing.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.avro.wire import INT_MAX, INT_MIN, Wire
from operators.columns.arrays import Bools, Int64s

Bytes = npt.NDArray[np.uint8]

_WIDTHS: Final = {"boolean": 1, "float": 4, "double": 8}
# The bodies' bytes are come back to with every field: of so many the cache still has them.
_AT_ONCE: Final = 16_384
_MOST_ITEMS: Final = 256
_FEW: Final = 64
_ENDS: Final = np.uint64(0x8080_8080_8080_8080)
_ONE: Final = np.uint64(1)


class _Walk(NamedTuple):
    """Bodies on the way: the bytes of all, the place of each, past its end, and what is wrong.

    `at` and `wrong` change as it goes.
    """

    data: Bytes
    at: Int64s
    past: Int64s
    wrong: Bytes

    def of(self, rows: Int64s) -> "_Walk":
        return _Walk(self.data, self.at[rows], self.past[rows], self.wrong[rows])

    def put(self, rows: Int64s, some: "_Walk") -> None:
        self.at[rows], self.wrong[rows] = some.at, some.wrong


def well_formed(data: Bytes, starts: Int64s, ends: Int64s, fields: Sequence[Wire]) -> Bools:
    """Return a flag for each body: whether it is a record of `fields`, UTF-8 apart.

    Body i is ``data[starts[i]:ends[i]]``; 32 zeros stand behind the last. One of a few that have
    longer arrays than the others may have none, though it is a record.
    """
    good = np.empty(len(starts), np.bool_)
    for first in range(0, len(starts), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        at, past = starts[some].copy(), ends[some] + 1
        walk = _Walk(data, at, past, np.zeros(len(at), np.uint8))
        for wire in fields:
            _pass(walk, wire)
        good[some] = (walk.wrong == 0) & (at < past)
    return good


def _pass(walk: _Walk, wire: Wire) -> None:
    """Go on behind one value."""
    if wire.kind == "union":
        _choose(walk, wire)
    elif wire.null_first is None:
        _value(walk, wire, None)
    else:
        there = _index(walk, 2)
        if not wire.null_first:
            there ^= 1
        _value(walk, wire, there)
    np.minimum(walk.at, walk.past, out=walk.at)


def _value(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    """Go on behind one value where `there` is 1; None: everywhere."""
    own = _KINDS.get(wire.kind, _number)
    if wire.kind in _NESTED and there is not None:
        rows = np.flatnonzero(there)
        some = walk.of(rows)
        own(some, wire, None)
        walk.put(rows, some)
    else:
        own(walk, wire, there)


def _wide(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    size = _WIDTHS.get(wire.kind, wire.size)
    if wire.kind == "boolean":
        wrong = walk.data.take(walk.at) & 0xFE
        np.bitwise_or(walk.wrong, wrong if there is None else wrong * there, out=walk.wrong)
    walk.at[:] += size if there is None else there * np.int64(size)


def _text(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    data, at, past, wrong = walk
    byte = data.take(at)
    if there is not None:
        byte *= there
    longer = _of_more(byte)
    if len(longer):
        size, after, whole = _longer(data, at[longer])
        fits = whole & (size >= 0) & (size < past[longer] - after)
        at[longer] = np.where(fits, after + size - 1, past[longer])
        byte[longer] = 0
    wrong |= byte & 1
    byte >>= 1
    byte += 1
    at += byte if there is None else byte * there


def _number(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    data, at, _, wrong = walk
    byte = data.take(at)
    if there is not None:
        byte *= there
    longer = _of_more(byte)
    if len(longer):
        if wire.kind == "long":
            at[longer], whole = _behind(data, at[longer])
        else:
            value, at[longer], whole = _longer(data, at[longer])
            low, high = _bounds(wire)
            whole &= (value >= low) & (value <= high)
        at[longer] -= 1
        wrong[longer] |= ~whole
        byte[longer] = 0
    if wire.kind == "enum":
        wrong |= byte & 1
        if len(wire.symbols) < 64:
            wrong |= byte >= 2 * len(wire.symbols)
    at += 1 if there is None else there


def _null(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    pass


def _record(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    for part in wire.parts:
        _pass(walk, part.wire)


def _blocks(walk: _Walk, wire: Wire, there: Bytes | None) -> None:
    """Go on behind an array or a map, an item of all bodies at a time."""
    rows, some = np.arange(len(walk.at)), walk
    left = np.zeros(len(rows), np.int64)
    for turn in count():
        heads = np.flatnonzero(left == 0)
        if len(heads):
            left[heads] = _heads(some, heads)
        open_ = (left > 0) & (some.wrong == 0)
        if turn >= _MOST_ITEMS and len(rows) < _FEW:
            # They would take longer than by the strict reader.
            some.wrong[open_] = 1
            open_[:] = False
        if turn == 0 or not open_.all():
            # Of those that are done the places are written back, the others go on.
            walk.put(rows, some)
            rows, left, some = rows[open_], left[open_], some.of(np.flatnonzero(open_))
        if not len(rows):
            return
        for part in wire.parts:
            _pass(some, part.wire)
        left -= 1
        np.bitwise_or(some.wrong, some.at >= some.past, out=some.wrong)


def _heads(walk: _Walk, heads: Int64s) -> Int64s:
    """Read how many items the next blocks of some bodies have."""
    items, after, whole = _longer(walk.data, walk.at[heads])
    sized = np.flatnonzero(items < 0)
    if len(sized):
        after[sized], fine = _behind(walk.data, np.minimum(after, walk.past[heads])[sized])
        whole[sized] &= fine
        items = np.abs(items)
        whole &= items >= 0  # the least number has no other sign
    walk.at[heads] = np.minimum(after, walk.past[heads])
    walk.wrong[heads] |= ~whole
    return items


def _choose(walk: _Walk, wire: Wire) -> None:
    """Go on behind a union's index and the value that it says."""
    index = _index(walk, len(wire.parts))
    np.minimum(walk.at, walk.past, out=walk.at)
    for number, part in enumerate(wire.parts):
        if part.wire.kind != "null":
            rows = np.flatnonzero((index == number) & (walk.wrong == 0))
            some = walk.of(rows)
            _value(some, part.wire, None)
            walk.put(rows, some)


def _index(walk: _Walk, branches: int) -> Bytes:
    """Read a union's index; one that is wrong is any."""
    data, at, _, wrong = walk
    byte = data.take(at)
    longer = _of_more(byte)
    if len(longer):
        value, after, whole = _longer(data, at[longer])
        whole &= (value >= 0) & (value < min(branches, 128))
        at[longer] = after - 1
        byte[longer] = np.where(whole, value << 1, 1)
    at += 1
    wrong |= byte & 1
    byte >>= 1
    wrong |= byte >= branches
    if branches == 2:
        # Of a union with null it is a mask, also where it is wrong.
        byte &= 1
    return byte


def _of_more(byte: Bytes) -> Int64s:
    """Return which numbers have more bytes than the first one."""
    if not len(byte) or byte.max() < 0x80:
        return _NONE
    return np.flatnonzero(byte & 0x80)


def _bounds(wire: Wire) -> tuple[int, int]:
    return (0, len(wire.symbols) - 1) if wire.kind == "enum" else (INT_MIN, INT_MAX)


def _behind(data: Bytes, at: Int64s) -> tuple[Int64s, Bools]:
    """Return the places behind zigzag varints, and whether they end."""
    words = np.ndarray((len(data) - 7,), "<u8", data.data, strides=(1,))
    stops = ~words[at] & _ENDS
    size = (np.bitwise_count((stops & -stops) - _ONE) >> 3) + 1
    whole = np.ones(len(at), np.bool_)
    rest = np.flatnonzero(size > 8)
    for place in (8, 9):
        if len(rest):
            size[rest] = place + 1
            rest = rest[data.take(at[rest] + place) >= 0x80]
    whole[rest] = False
    return at + size, whole


def _longer(data: Bytes, at: Int64s) -> tuple[Int64s, Int64s, Bools]:
    """Read a zigzag varint at each place: values, places behind them, whether they end."""
    byte = data.take(at)
    at = at + 1
    bits = (byte & 0x7F).astype(np.uint64)
    going = _of_more(byte)
    for shift in range(7, 64, 7):
        if not len(going):
            break
        byte = data.take(at.take(going))
        at[going] += 1
        bits[going] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
        going = going[byte >= 0x80]
    whole = np.ones(len(at), np.bool_)
    whole[going] = False
    return (bits >> _ONE).astype(np.int64) ^ -(bits & _ONE).astype(np.int64), at, whole


_NONE: Final = np.zeros(0, np.int64)
_NESTED: Final = frozenset({"record", "array", "map"})
_KINDS: Final[dict[str, Callable[[_Walk, Wire, Bytes | None], None]]] = {
    "null": _null,
    "boolean": _wide, "float": _wide, "double": _wide, "fixed": _wide,
    "string": _text, "bytes": _text,
    "record": _record, "array": _blocks, "map": _blocks,
}  # fmt: skip

"""Find the bodies that are not records of a flat schema, all of them side by side.

One bad body fails a whole call of the bulk decoder. Trying halves takes dozens of calls for
each bad one; walking every body's fields with NumPy, field by field, takes about as long as
one more decoding however many are bad. It follows the rules of `wire`, UTF-8 apart.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from operators.avro.wire import INT_MAX, INT_MIN, Wire
from operators.columns.arrays import Bools, Int64s

_WIDTHS = {"boolean": 1, "float": 4, "double": 8}
# The bodies' bytes are come back to with every field: of so many the cache still has them.
_AT_ONCE = 16_384


def well_formed(
    data: npt.NDArray[np.uint8], starts: Int64s, ends: Int64s, fields: Sequence[Wire]
) -> Bools:
    """Return a flag for each body: whether it is a record of `fields`, all of them flat.

    Body i is ``data[starts[i]:ends[i]]``; 16 zeros or more stand behind the last.
    """
    good = np.empty(len(starts), np.bool_)
    for first in range(0, len(starts), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        good[some] = _well_formed(data, starts[some], ends[some], fields)
    return good


def _well_formed(
    data: npt.NDArray[np.uint8], starts: Int64s, ends: Int64s, fields: Sequence[Wire]
) -> Bools:
    at = starts
    good = np.ones(len(starts), np.bool_)
    for wire in fields:
        present: Bools | None = None
        if wire.null_first is not None:
            index, at, whole = longs(data, at)
            good &= whole & ((index == 0) | (index == 1))
            present = index == int(wire.null_first)
        after, fine = passed(data, np.minimum(at, ends), ends, wire)
        if present is not None:
            after, fine = np.where(present, after, at), fine | ~present
        good &= fine & (after <= ends)
        at = np.minimum(after, ends)
    return good


def passed(
    data: npt.NDArray[np.uint8], at: Int64s, ends: Int64s, wire: Wire
) -> tuple[Int64s, Bools]:
    """Return the places after one value, not null, and whether each is well-formed."""
    if wire.kind in _WIDTHS:
        fine = data.take(at) <= 1 if wire.kind == "boolean" else np.ones(len(at), np.bool_)
        return at + _WIDTHS[wire.kind], fine
    value, at, fine = longs(data, at)
    if wire.kind in ("string", "bytes"):
        fits = (value >= 0) & (value <= ends - at)
        return at + np.where(fits, value, 0), fine & fits
    if wire.kind == "enum":
        fine &= (value >= 0) & (value < len(wire.symbols))
    elif wire.kind == "int":
        fine &= (value >= INT_MIN) & (value <= INT_MAX)
    return at, fine


def longs(data: npt.NDArray[np.uint8], at: Int64s) -> tuple[Int64s, Int64s, Bools]:
    """Read a zigzag varint at each place: values, places after them, whether they end."""
    byte = data.take(at)
    # Most are of one byte.
    values, at, whole = _OF_ONE_BYTE.take(byte), at + 1, np.ones(len(at), np.bool_)
    several = np.flatnonzero(byte & 0x80)
    if len(several):
        found = _longer(data, byte.take(several), at.take(several))
        values[several], at[several], whole[several] = found
    return values, at, whole


def _longer(
    data: npt.NDArray[np.uint8], byte: npt.NDArray[np.uint8], at: Int64s
) -> tuple[Int64s, Int64s, Bools]:
    """Go on with varints whose first byte has another one behind it, at `at`."""
    bits = (byte & 0x7F).astype(np.uint64)
    going = np.arange(len(at))
    for shift in range(7, 64, 7):
        byte = data.take(at.take(going))
        at[going] += 1
        bits[going] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
        going = going[byte >= 0x80]
        if not len(going):
            break
    whole = np.ones(len(at), np.bool_)
    whole[going] = False
    return _unzigzagged(bits), at, whole


def _unzigzagged(bits: npt.NDArray[np.uint64]) -> Int64s:
    return (bits >> np.uint64(1)).astype(np.int64) ^ -(bits & np.uint64(1)).astype(np.int64)


_OF_ONE_BYTE = _unzigzagged(np.arange(256, dtype=np.uint64))

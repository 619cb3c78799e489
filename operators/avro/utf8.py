"""UTF-8: which texts of an Arrow array are not; pyruhvro does not look, and Polars panics."""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from operators.columns.arrays import Int64s

_AT_ONCE: Final = 1024
_NONE: Final = np.zeros(0, np.int64)


def bad_texts(strings: Any) -> Int64s:
    """Return the places of those strings of an array (`pa.string()`) that are not UTF-8."""
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        size = len(strings)
        if size <= _AT_ONCE:
            return _one_by_one(strings)
        parts = range(0, size, -(-size // 2))
        halves = [bad_texts(strings.slice(at, -(-size // 2))) + at for at in parts]
        return np.concatenate(halves)
    return _NONE


def _one_by_one(strings: Any) -> Int64s:
    _, offsets, data = strings.buffers()
    cuts = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    text = np.frombuffer(data, np.uint8)[cuts[0] : cuts[-1]]
    # Those of ASCII alone are fine.
    odd = np.searchsorted(cuts, np.flatnonzero(text > 0x7F) + cuts[0], "right") - 1
    odd = odd[np.diff(odd, prepend=-1) > 0]
    found = []
    for row in odd.tolist():
        try:
            text[cuts[row] - cuts[0] : cuts[row + 1] - cuts[0]].tobytes().decode()
        except UnicodeDecodeError:
            found.append(row)
    return np.array(found, np.int64)

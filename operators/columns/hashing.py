"""A hash of strings that is the same in every process, version and machine."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import UInt64s

_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT: Final = np.uint64(33)
_KEEP: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


def _mix(h: UInt64s) -> UInt64s:
    """Return MurmurHash3's 64-bit finaliser of each value."""
    h = (h ^ (h >> _SHIFT)) * _MIX_1
    h = (h ^ (h >> _SHIFT)) * _MIX_2
    return h ^ (h >> _SHIFT)


def hash_strings(values: pl.Series) -> UInt64s:
    """Return a 64-bit hash of each string's UTF-8 bytes, shape (n,); no nulls allowed.

    The bytes are read as little-endian words of 8, each mixed into the hash with
    MurmurHash3's finaliser; the length is the seed, so trailing zeros count. Two of a million
    keys share a hash with a probability of 3e-8. Polars' own hash is not used because its
    values may change with any release, and recovered state outlives releases.
    """
    # The Arrow layout has all bytes in one buffer; a view of 64-bit words at every byte of
    # it makes each string's k-th word one gather.
    arrow = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if len(arrow) == 0:
        return np.empty(0, np.uint64)
    _, offsets_buffer, data = arrow.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[
        arrow.offset : arrow.offset + len(arrow) + 1
    ]
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + 8, np.uint8)
    if last > first:
        padded[:-8] = np.frombuffer(data, np.uint8)[first:last]
    words = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))
    starts, lengths = offsets[:-1] - first, np.diff(offsets)
    h = _mix(lengths.astype(np.uint64) + _MULTIPLY)
    for at in range(0, int(lengths.max()), 8):
        rows = np.flatnonzero(lengths > at)
        word = words[starts[rows] + at] & _KEEP[np.minimum(lengths[rows] - at, 8)]
        h[rows] = _mix((h[rows] ^ word) * _MULTIPLY)
    return h


def key_groups(hashes: UInt64s, groups: int) -> npt.NDArray[np.uint8]:
    """Return the key group of each hash, in [0, groups); groups is at most 256."""
    return ((hashes >> np.uint64(32)) % np.uint64(groups)).astype(np.uint8)


def can_be_key(dtype: pl.DataType) -> bool:
    """Tell whether values of a type have a hash, see `hash_columns`."""
    whole = dtype.is_integer() or dtype.is_temporal()
    return whole or dtype in (pl.String(), pl.Boolean())


def hash_columns(frame: pl.DataFrame, columns: Sequence[str]) -> UInt64s:
    """Return a 64-bit hash of each row's values of `columns`, shape (n,).

    Strings are hashed as `hash_strings` does, so one string column gives the same key groups;
    integers, Booleans, dates and times by their physical value. A null hashes as an empty or
    zero value: who compares keys has to compare the values too. Raises ValueError for types,
    such as floats, that make no keys.
    """
    result: UInt64s | None = None
    for name in columns:
        values = frame[name]
        if not can_be_key(values.dtype):
            raise ValueError(f"column {name!r} of type {values.dtype} can be no key")
        if values.dtype == pl.String:
            hashes = hash_strings(values.fill_null("") if values.null_count() else values)
        else:
            whole = values.to_physical().cast(pl.Int64).fill_null(0)
            hashes = _mix(whole.to_numpy().view(np.uint64) + _MULTIPLY)
        result = hashes if result is None else _mix(result * _MULTIPLY ^ hashes)
    if result is None:
        raise ValueError("a key needs at least one column")
    return result

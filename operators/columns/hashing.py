"""A hash of strings that is the same in every process, version and machine."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s, UInt64s

_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT: Final = np.uint64(33)
_OTHER: Final = np.uint64(0xD6E8FEB86659FD93)
_FOLD: Final = np.uint64(29)
_HALF: Final = np.uint64(32)
_KEEP: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


Rows = slice | npt.NDArray[np.intp]


def _mix(h: UInt64s) -> UInt64s:
    """Return MurmurHash3's 64-bit finaliser of each value."""
    h = h ^ (h >> _SHIFT)
    h *= _MIX_1
    h ^= h >> _SHIFT
    h *= _MIX_2
    h ^= h >> _SHIFT
    return h


def _words(values: pl.Series) -> tuple[Int64s, Iterator[tuple[Rows, UInt64s]]]:
    """Return the strings' lengths in bytes, and their little-endian words of 8 in turn.

    Each time of the rows that have one, the last word of a string filled up with zeros.
    """
    # The Arrow layout has all bytes in one buffer; a view of 64-bit words at every byte of
    # it makes each string's k-th word one gather.
    arrow = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if len(arrow) == 0:
        return np.empty(0, np.int64), iter(())
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
    shortest, longest = int(lengths.min()), int(lengths.max())

    def each() -> Iterator[tuple[Rows, UInt64s]]:
        for at in range(0, longest, 8):
            rows = slice(None) if shortest > at else np.flatnonzero(lengths > at)
            word = words[starts[rows] + at]
            if shortest < at + 8:
                word &= _KEEP[np.minimum(lengths[rows] - at, 8)]
            yield rows, word

    return lengths, each()


def hash_strings(values: pl.Series) -> UInt64s:
    """Return a 64-bit hash of each string's UTF-8 bytes, shape (n,); no nulls allowed.

    The bytes are read as little-endian words of 8, each mixed into the hash with
    MurmurHash3's finaliser; the length is the seed, so trailing zeros count. Two of a million
    keys share a hash with a probability of 3e-8. Polars' own hash is not used because its
    values may change with any release, and recovered state outlives releases.
    """
    lengths, words = _words(values)
    h = _mix(lengths.astype(np.uint64) + _MULTIPLY)
    for rows, word in words:
        h[rows] = _mix((h[rows] ^ word) * _MULTIPLY)
    return h


def identify_strings(values: pl.Series) -> tuple[UInt64s, npt.NDArray[np.uint32]]:
    """Return 96 bits by which a string is known: `hash_strings`, and 32 of a hash of its own.

    Each of shape (n,); no nulls allowed. The second hash folds each word in with one
    multiplication. Two of a billion strings have the same 96 bits with a probability of 6e-12.
    """
    lengths, words = _words(values)
    h = _mix(lengths.astype(np.uint64) + _MULTIPLY)
    other = h * _OTHER
    for rows, word in words:
        h[rows] = _mix((h[rows] ^ word) * _MULTIPLY)
        folded = (other[rows] ^ word) * _OTHER
        folded ^= folded >> _FOLD
        other[rows] = folded
    return h, (other * _OTHER >> _HALF).astype(np.uint32)


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

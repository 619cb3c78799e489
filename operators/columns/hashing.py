"""A hash of strings that is the same in every process, version and machine."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s, UInt64s

_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT: Final = np.uint64(33)
_HALF: Final = np.uint64(32)
_ODD: Final = np.uint64(1)
_LENGTH: Final = np.uint64(0xD6E8FEB86659FD93)
# Rows of which the words stay in a core's cache.
_BLOCK: Final = 4_096
_KEEP: Final = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


def _mix(h: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return MurmurHash3's 64-bit finaliser of each value."""
    h = h ^ (h >> _SHIFT)
    h *= _MIX_1
    h ^= h >> _SHIFT
    h *= _MIX_2
    h ^= h >> _SHIFT
    return h


def _keys(n: int) -> UInt64s:
    """Return random numbers that are always the same."""
    return _mix(np.arange(1, n + 1, dtype=np.uint64) * _MULTIPLY)


_KEYS: Final = _keys(32)


def _bytes_of(values: pl.Series) -> tuple[Int64s, npt.NDArray[np.uint8]]:
    """Return where each string begins and the last one ends, and the bytes of all."""
    arrow = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if len(arrow) == 0:
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, offsets, data = arrow.buffers()
    ends = np.frombuffer(offsets, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return ends, np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)


def _words_at_each_byte(data: npt.NDArray[np.uint8]) -> UInt64s:
    """Return the word of 8 bytes at every byte, with which a string's k-th word is one gather."""
    padded = np.zeros(len(data) + 8, np.uint8)
    padded[:-8] = data
    return np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))


def hash_strings(values: pl.Series) -> UInt64s:
    """Return a 64-bit hash of each string's UTF-8 bytes, shape (n,); no nulls allowed.

    The bytes are read as little-endian words of 8, each mixed into the hash with
    MurmurHash3's finaliser; the length is the seed, so trailing zeros count. Two of a million
    keys share a hash with a probability of 3e-8. Polars' own hash is not used because its
    values may change with any release, and recovered state outlives releases.
    """
    offsets, data = _bytes_of(values)
    words = _words_at_each_byte(data[offsets[0] : offsets[-1]])
    starts, lengths = offsets[:-1] - offsets[0], offsets[1:] - offsets[:-1]
    found = np.empty(len(starts), np.uint64)
    for first in range(0, len(starts), _BLOCK):
        rows = slice(first, first + _BLOCK)
        found[rows] = _hash_block(words, starts[rows], lengths[rows])
    return found


def _hash_block(words: UInt64s, starts: Int64s, lengths: Int64s) -> UInt64s:
    h = _mix(lengths.astype(np.uint64) + _MULTIPLY)
    shortest, longest = int(lengths.min()), int(lengths.max())
    for at in range(0, longest, 8):
        if at >= shortest:
            rows = np.flatnonzero(lengths > at)
            word = words[starts[rows] + at] & _KEEP[np.minimum(lengths[rows] - at, 8)]
            h[rows] = _mix((h[rows] ^ word) * _MULTIPLY)
            continue
        if shortest == longest:
            # They lie end to end: nothing to gather.
            begin = int(starts[0]) + at
            word = words[begin : begin + longest * (len(h) - 1) + 1 : longest]
        else:
            word = words[starts + at]
        if at + 8 > shortest:
            word = word & _KEEP.take(np.minimum(lengths - at, 8))
        h = _mix((h ^ word) * _MULTIPLY)
    return h


def identify_strings(values: pl.Series) -> tuple[UInt64s, npt.NDArray[np.uint32]]:
    """Return 96 bits by which a string is known, 64 and 32; each of shape (n,), no nulls allowed.

    The bytes are read as little-endian words of 8, the last of which ends with the string, or
    is filled up with zeros where the string is shorter. Each is mixed with a key of its place;
    one sum of them are the 64 bits, the upper half of another, weighted by place, the 32. Two
    of a billion strings have the same 96 bits with a probability of 6e-12.
    """
    offsets, data = _bytes_of(values)
    # Not np.diff, which costs as much as all the rest where there are few.
    lengths = offsets[1:] - offsets[:-1]
    n, longest = len(lengths), int(lengths.max(initial=0))
    keys = _KEYS if longest <= 8 * len(_KEYS) else _keys(-(-longest // 8))
    weights = keys | _ODD
    if longest < 8 or n * longest != offsets[-1] - offsets[0]:
        return _identify_unequal(offsets, data, keys, weights)
    sums, weighted = np.empty(n, np.uint64), np.empty(n, np.uint64)
    whole, rest = divmod(longest, 8)
    words = whole + bool(rest)
    for start in range(0, n, _BLOCK):
        stop, at = min(start + _BLOCK, n), int(offsets[start])
        mixed = np.empty((words, stop - start), np.uint64)
        strided = np.ndarray((stop - start, whole), "<u8", data, at, (longest, 8))
        np.bitwise_xor(strided.T, keys[:whole, None], out=mixed[:whole])
        if rest:
            end = np.ndarray(stop - start, "<u8", data, at + longest - 8, (longest,))
            np.bitwise_xor(end, keys[whole], out=mixed[whole])
        mixed = _mix(mixed)
        np.add.reduce(mixed, 0, out=sums[start:stop])
        mixed *= weights[:words, None]
        np.add.reduce(mixed, 0, out=weighted[start:stop])
    sums += np.uint64(longest * int(_LENGTH) % 2**64)
    return sums, (weighted >> _HALF).astype(np.uint32)


def _identify_unequal(
    offsets: Int64s, data: npt.NDArray[np.uint8], keys: UInt64s, weights: UInt64s
) -> tuple[UInt64s, npt.NDArray[np.uint32]]:
    """Do what `identify_strings` does for strings of any lengths, word by word."""
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    every = _words_at_each_byte(data[offsets[0] : offsets[-1]])
    sums, weighted = lengths.astype(np.uint64) * _LENGTH, np.zeros(len(lengths), np.uint64)
    for k, at in enumerate(range(0, int(lengths.max(initial=0)), 8)):
        rows = np.flatnonzero(lengths > at)
        size = lengths[rows]
        begin = starts[rows] + np.minimum(at, np.maximum(size - 8, 0))
        mixed = _mix((every[begin] & _KEEP[np.minimum(size, 8)]) ^ keys[k])
        sums[rows] += mixed
        weighted[rows] += mixed * weights[k]
    return sums, (weighted >> _HALF).astype(np.uint32)


def key_groups(hashes: UInt64s, groups: int) -> npt.NDArray[np.uint8]:
    """Return the key group of each hash, in [0, groups); groups is at most 256."""
    return ((hashes >> np.uint64(32)) % np.uint64(groups)).astype(np.uint8)


def can_be_key(dtype: pl.DataType) -> bool:
    """Tell whether values of a type have a hash, see `hash_columns`."""
    whole = dtype.is_integer() or dtype.is_temporal()
    return whole or dtype in (pl.String(), pl.Boolean())


def hash_columns(
    frame: pl.DataFrame, columns: Sequence[str], known: dict[str, UInt64s] | None = None
) -> UInt64s:
    """Return a 64-bit hash of each row's values of `columns`, shape (n,).

    `known` are hashes of single columns of the frame, to which those are added that are made.

    Strings are hashed as `hash_strings` does, so one string column gives the same key groups;
    integers, Booleans, dates and times by their physical value. A null hashes as an empty or
    zero value: who compares keys has to compare the values too. Raises ValueError for types,
    such as floats, that make no keys.
    """
    result: UInt64s | None = None
    known = {} if known is None else known
    for name in columns:
        if name not in known:
            known[name] = _hash(frame[name])
        hashes = known[name]
        result = hashes if result is None else _mix(result * _MULTIPLY ^ hashes)
    if result is None:
        raise ValueError("a key needs at least one column")
    return result


def _hash(values: pl.Series) -> UInt64s:
    if not can_be_key(values.dtype):
        raise ValueError(f"column {values.name!r} of type {values.dtype} can be no key")
    if values.dtype == pl.String:
        return hash_strings(values.fill_null("") if values.null_count() else values)
    whole = values.to_physical().cast(pl.Int64).fill_null(0)
    return _mix(whole.to_numpy().view(np.uint64) + _MULTIPLY)

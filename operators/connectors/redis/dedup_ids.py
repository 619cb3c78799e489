"""First records of ids, who knows them for ever, and how the Lua scripts take them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.hashing import identify_strings

_IDS_A_CALL: Final = 5_000
# Strings of MessagePack: a byte for the kind and the length, then the bytes.
_STRING: Final = 0xA0
_ID: Final = np.dtype([("head", "u1"), ("hash", "<u8"), ("other", "<u4")])
_PARTITION_BITS: Final = 10
_OFFSET_BITS: Final = 38
_SHORT: Final = np.dtype([("id", _ID), ("head", "u1"), ("high", ">u2"), ("low", ">u4")])
_LONG: Final = np.dtype([("id", _ID), ("head", "u1"), ("partition", ">u4"), ("offset", ">u8")])
FOUND: Final = np.dtype([("row", ">u4"), ("partition", ">u4"), ("offset", ">u8")])
"""What first_seen.lua answers of an id that another record carried first."""
NOTHING: Final = b""
"""No records."""


@dataclass(frozen=True, slots=True)
class Seen:
    """First records: ids of 1 to 255 bytes, event hours since 1970, coordinates; n of each."""

    ids: pl.Series
    hours: Int64s
    partitions: Int64s
    offsets: Int64s

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Seen":
        """Return those that a mask of shape (n,) picks."""
        if mask.all():
            return self
        return Seen(
            self.ids.filter(pl.Series(mask)),
            self.hours[mask],
            self.partitions[mask],
            self.offsets[mask],
        )

    def part(self, start: int, stop: int) -> "Seen":
        """Return those from `start` to before `stop`."""
        rows = slice(start, stop)
        return Seen(self.ids[rows], self.hours[rows], self.partitions[rows], self.offsets[rows])


class History(Protocol):
    """What is known for ever: the first records that a table has committed."""

    def committed(self) -> Mapping[int, int]:
        """Return by partition the last offset that the table accounts for."""
        ...

    def newest(self) -> int | None:
        """Return the newest event hour in the table, or one past it; None if it is empty."""
        ...

    def first(self, hours: Sequence[int]) -> Iterator[Seen]:
        """Yield the first records of these event hours."""
        ...

    def latest(self) -> Iterator[Seen]:
        """Yield the first records of at least the last two commits."""
        ...


@dataclass(frozen=True, slots=True)
class Packed:
    """Records as the scripts take them (records.lua), sorted by hour."""

    hours: Int64s
    ids: npt.NDArray[Any]
    short: npt.NDArray[Any]
    long: tuple[npt.NDArray[np.bool_], npt.NDArray[Any]] | None
    rows: npt.NDArray[Any]
    cuts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, seen: Seen) -> Self:
        """Pack first records; `rows` are their places among those given."""
        n = len(seen)
        hours, partitions, offsets = seen.hours, seen.partitions, seen.offsets
        rows = np.arange(n)
        ids = np.empty(n, _ID)
        ids["head"] = _STRING | (_ID.itemsize - 1)
        ids["hash"], ids["other"] = identify_strings(seen.ids)
        if (hours[1:] < hours[:-1]).any():
            rows = np.argsort(hours, kind="stable")
            ids, hours = ids[rows], hours[rows]
            partitions, offsets = partitions[rows], offsets[rows]
        short, long = np.empty(n, _SHORT), None
        short["id"], short["head"] = ids, _STRING | 6
        short["high"] = partitions << (_OFFSET_BITS - 32) | offsets >> 32
        short["low"] = offsets & 0xFFFFFFFF
        if n and (partitions.max() >> _PARTITION_BITS or offsets.max() >> _OFFSET_BITS):
            which = (partitions >> _PARTITION_BITS) | (offsets >> _OFFSET_BITS) > 0
            pairs = np.empty(n, _LONG)
            pairs["id"], pairs["head"] = ids, _STRING | 12
            pairs["partition"], pairs["offset"] = partitions, offsets
            long = which, pairs
        breaks = hours[1:] != hours[:-1]
        if long is not None:
            breaks |= long[0][1:] != long[0][:-1]
        cuts = 1 + np.flatnonzero(breaks)
        return cls(hours, ids, short, long, rows.astype(">u4"), cuts)

    def distinct_hours(self) -> list[int]:
        """Return each hour once."""
        return sorted({*self.hours[:1].tolist(), *self.hours[self.cuts].tolist()})

    def calls(self) -> Iterator[list[tuple[int, bytes]]]:
        """Yield per call each hour with its records, an hour twice if of both lengths.

        At least one call, if with no hour.
        """
        n, cuts = len(self.hours), self.cuts
        if n == 0:
            yield []
        for start in range(0, n, _IDS_A_CALL):
            stop = min(start + _IDS_A_CALL, n)
            bounds = [start, *cuts[(cuts > start) & (cuts < stop)].tolist(), stop]
            yield [
                (int(self.hours[low]), self._records(low, high))
                for low, high in itertools.pairwise(bounds)
            ]

    def _records(self, low: int, high: int) -> bytes:
        of = self.long[1] if self.long is not None and self.long[0][low] else self.short
        size = of.dtype.itemsize - _ID.itemsize - 1
        parts = (self.ids[low:high].data, of[low:high].data, self.rows[low:high].data)
        return b"".join((bytes([size]), *parts))

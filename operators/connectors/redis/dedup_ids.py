"""First records of ids, who knows them for ever, and how the Lua scripts take them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s

_IDS_A_CALL: Final = 5_000
_PLACE: Final = np.dtype([("partition", ">u4"), ("offset", ">u8")])
FOUND: Final = np.dtype([("row", ">u4"), ("partition", ">u4"), ("offset", ">u8")])
"""What first_seen.lua answers of an id that another record carried first."""
NOTHING: Final = [b""] * 4
"""The lengths, ids, coordinates and rows of no id."""


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
    """Ids and coordinates as the scripts take them, sorted by hour."""

    hours: Int64s
    lengths: npt.NDArray[np.uint8]
    ends: Int64s
    text: memoryview
    places: npt.NDArray[Any]
    rows: npt.NDArray[Any]

    @classmethod
    def of(cls, seen: Seen) -> Self:
        """Pack first records; `rows` are their places among those given."""
        n = len(seen)
        ids, hours, partitions, offsets = seen.ids, seen.hours, seen.partitions, seen.offsets
        rows = np.arange(n)
        if n > 1 and (np.diff(hours) < 0).any():
            rows = np.argsort(hours, kind="stable")
            ids, hours = ids[rows], hours[rows]
            partitions, offsets = partitions[rows], offsets[rows]
        arrow = ids.to_arrow(compat_level=pl.CompatLevel.oldest())
        _, buffer, data = arrow.buffers()
        ends = np.frombuffer(buffer, np.int64)[arrow.offset : arrow.offset + n + 1]
        places = np.empty(n, _PLACE)
        places["partition"], places["offset"] = partitions, offsets
        lengths = np.diff(ends).astype(np.uint8)
        return cls(hours, lengths, ends, memoryview(data), places, rows.astype(">u4"))

    def calls(self) -> Iterator[list[tuple[int, list[bytes]]]]:
        """Yield per call each hour with its lengths, ids, coordinates and rows.

        At least one call, if with no hour.
        """
        if len(self.hours) == 0:
            yield []
        for start in range(0, len(self.hours), _IDS_A_CALL):
            stop = min(start + _IDS_A_CALL, len(self.hours))
            cuts = start + 1 + np.flatnonzero(np.diff(self.hours[start:stop]))
            bounds = [start, *cuts.tolist(), stop]
            yield [
                (
                    int(self.hours[low]),
                    [
                        self.lengths[low:high].tobytes(),
                        bytes(self.text[self.ends[low] : self.ends[high]]),
                        self.places[low:high].tobytes(),
                        self.rows[low:high].tobytes(),
                    ],
                )
                for low, high in itertools.pairwise(bounds)
            ]

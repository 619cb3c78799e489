"""Pieces: tables of a stream's records by partition and offset, so many rows at the most."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.reading import query

MOST: Final = 500_000
"""How many rows of a table a piece has at the most, as an offset has one."""

_RANGES: Final = (
    "SELECT source_partition, min(source_offset) AS first, max(source_offset) AS last "
    "FROM rows GROUP BY source_partition"
)


@dataclass(frozen=True)
class _Span:
    """Offsets of a partition from `first` on, and before `end`; None for whatever there is."""

    partition: int
    first: int | None
    end: int | None

    @property
    def sql(self) -> str:
        parts = [f"source_partition = {self.partition}"]
        parts += [] if self.first is None else [f"source_offset >= {self.first}"]
        parts += [] if self.end is None else [f"source_offset < {self.end}"]
        return f"({' AND '.join(parts)})"

    @property
    def mask(self) -> pl.Expr:
        found = pl.col("source_partition") == self.partition
        if self.first is not None:
            found &= pl.col("source_offset") >= self.first
        return found if self.end is None else found & (pl.col("source_offset") < self.end)


@dataclass(frozen=True)
class Piece:
    """Some of the records, as every table has them that has them by their place."""

    spans: tuple[_Span, ...]

    @property
    def sql(self) -> str:
        """SQL that holds for a row of a piece's records."""
        return " OR ".join(each.sql for each in self.spans) or "FALSE"

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return those rows that are of it."""
        masks = [each.mask for each in self.spans]
        return rows.filter(reduce(or_, masks)) if masks else rows.clear()


def pieces(tables: Iterable[DeltaTable], most: int | None = None) -> Iterator[Piece]:
    """Yield pieces that have each row of some tables once, at least one.

    Of a table that has an offset once none has more than `most` rows, `MOST` if that is None.
    """
    ranges: dict[int, tuple[int, int]] = {}
    for table in tables:
        for partition, first, last in query(table, _RANGES).iter_rows():
            low, high = ranges.get(partition, (first, last))
            ranges[partition] = min(low, first), max(high, last)
    most = most or MOST
    mine: list[_Span] = []
    room = most
    for partition, (low, high) in sorted(ranges.items()):
        if mine and high - low + 1 > room:
            yield Piece(tuple(mine))
            mine, room = [], most
        begin: int | None = None
        for end in range(low + most, high + 1, most):
            yield Piece((_Span(partition, begin, end),))
            begin = end
        mine.append(_Span(partition, begin, None))
        room -= high + 1 - (low if begin is None else begin)
    yield Piece(tuple(mine))

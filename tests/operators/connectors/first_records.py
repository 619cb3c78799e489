"""Asking who carried an id first, and a table that keeps the answers."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from operators.columns.hashing import identify_strings
from operators.connectors.redis.dedup_ids import Seen
from operators.connectors.redis.dedup_store import RedisDedupStore

Row = tuple[str, int, int, int]
"""An id, its event's hour, partition and offset."""


def ask(seen: RedisDedupStore, *rows: Row) -> list[tuple[int, int]]:
    """Ask for rows in one batch; returns the coordinates of each one's first record."""
    ids, *numbers = zip(*rows, strict=True) if rows else ([], [], [], [])
    columns = [np.array(column, np.int64) for column in numbers]
    partitions, offsets = seen.first(pl.Series(ids, dtype=pl.String()), *columns)
    return list(zip(partitions.tolist(), offsets.tolist(), strict=True))


def field(name: str) -> bytes:
    """Return what an id is called within its bucket."""
    first, second = identify_strings(pl.Series([name]))
    return first.astype("<u8").tobytes() + second.astype("<u4").tobytes()


class Table:
    """A table that commits first records, as the silver table does."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.fence: dict[int, int] = {}
        self.reads = 0
        self.last: list[list[Row]] = []

    def commit(self, rows: Sequence[Row], fence: dict[int, int]) -> None:
        self.rows += rows
        self.last = [*self.last[-1:], list(rows)]
        self.fence.update(fence)

    def committed(self) -> dict[int, int]:
        return dict(self.fence)

    def newest(self) -> int | None:
        return max((hour for _, hour, _, _ in self.rows), default=None)

    def latest(self) -> Iterator[Seen]:
        return self._parts(list(itertools.chain(*self.last)))

    def first(self, hours: Sequence[int]) -> Iterator[Seen]:
        self.reads += 1
        return self._parts([row for row in self.rows if row[1] in hours])

    def _parts(self, found: list[Row]) -> Iterator[Seen]:
        for start in range(0, len(found), 3):
            ids, *numbers = zip(*found[start : start + 3], strict=True)
            yield Seen(pl.Series(ids), *(np.array(column, np.int64) for column in numbers))

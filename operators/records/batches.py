"""Batches: runs of consecutive records of one source partition, as columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import stacked
from operators.columns.times import NO_TIME

Headers = Sequence[tuple[str, bytes | None]]

NO_WATERMARK: Final = NO_TIME
"""The watermark, in µs, of a partition that has shown no event time yet."""

END_OF_INPUT: Final = 2**62
"""The watermark, in µs, behind the last record of a bounded input: every window closes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one source partition has come.

    `partitions` is how many the source has, `offset` the last one accounted for (inclusive,
    -1 before the first; offsets that are no records count too, such as a transaction's marker).
    A partition that was added while the flow was at work joins at `floor`, in µs: what had
    closed by then stays closed. `caught_up` says that the broker had nothing behind `offset`
    when it was last heard: neither records to read nor a transaction that is open. `behind` is
    how many offsets it then had there, and `blocked` says that they cannot be read as long as a
    transaction is open. Of `past` records the tables have everything already: they only make
    state anew. `closed` is the flow's watermark, in µs, that the tables had come to when the
    partition goes on behind its past: what had closed by then stays closed. All that is the
    source's to say.

    The rest is said where watermarks are made: `watermark` is the partition's own after that
    offset in µs, `quiet` for how many seconds no event has come, and `idle` whether that is
    long enough for the partition to hold nobody back; see `Idleness`.
    """

    topic: str
    partition: int
    partitions: int
    offset: int = -1
    watermark: int = NO_WATERMARK
    idle: bool = False
    floor: int = NO_WATERMARK
    caught_up: bool = False
    behind: int = 0
    blocked: bool = False
    quiet: float = 0.0
    past: bool = False
    closed: int = NO_WATERMARK

    def at(self, watermark: int) -> Self:
        """Return the same progress with the partition's watermark, in µs, filled in."""
        return replace(self, watermark=watermark)


class Column(Sequence[bytes | None]):
    """A Binary column as a sequence: bytes are made of it for who asks for them."""

    def __init__(self, column: pl.Series) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[row].to_list() if isinstance(row, slice) else self._column[int(row)]

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self._column.to_list())


@dataclass(frozen=True)
class RawBatch:
    """Records as consumed: one list entry per record, in offset order.

    `offsets` and `timestamps` are int64 arrays of equal length n; timestamps are Kafka's, in
    ms, -1 where the record has none. A batch with n = 0 carries progress alone.
    """

    progress: Progress
    offsets: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    timestamps: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    keys: Sequence[bytes | None] = ()
    values: Sequence[bytes | None] = ()
    headers: Sequence[Headers | None] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def of(
        cls,
        progress: Progress,
        offsets: Int64s,
        timestamps: Int64s,
        columns: pl.DataFrame,
        headers: Sequence[Headers | None],
    ) -> Self:
        """Return a batch of which keys and values are `columns`; none is made an object of."""
        keys, values = (columns[name].rechunk() for name in ("key", "value"))
        made = cls(progress, offsets, timestamps, Column(keys), Column(values), headers)
        # What a cached property would find.
        made.__dict__["columns"] = pl.DataFrame([keys, values])
        return made

    @cached_property
    def columns(self) -> pl.DataFrame:
        """Keys and values as Binary columns, `key` and `value`: made once, by who needs them."""
        pairs = ("key", self.keys), ("value", self.values)
        return pl.DataFrame([pl.Series(name, each, dtype=pl.Binary()) for name, each in pairs])


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded records: a frame with a row per record, in offset order."""

    progress: Progress
    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height


def merge(batches: Sequence[Batch]) -> pl.DataFrame:
    """Return the rows of all `batches` as one frame, so that work on them is done once.

    A Polars call costs 30 to 200 µs however few the rows, so what one activation brings is
    joined before any work; `split` undoes it.
    """
    if len(batches) == 1:
        return batches[0].frame
    return stacked(batch.frame for batch in batches)


def split(batches: Sequence[Batch], frame: pl.DataFrame) -> list[Batch]:
    """Cut `frame`, whose rows are those of `merge(batches)`, back into its batches."""
    result, start = [], 0
    for batch in batches:
        result.append(Batch(batch.progress, frame.slice(start, len(batch))))
        start += len(batch)
    return result

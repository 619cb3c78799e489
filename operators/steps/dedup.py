"""Dedup: records whose payment was seen before go to the duplicates."""

from dataclasses import dataclass
from typing import Final, Protocol

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.columns.arrays import Int64s
from operators.columns.frames import filtered, taken
from operators.columns.times import in_micros
from operators.records.batches import Batch, merge, split
from operators.records.tables import duplicate_columns

HOUR: Final = 3_600_000_000


class DedupStore(Protocol):
    """Remembers the coordinates of the first record that carried an id."""

    def first(
        self, ids: pl.Series, hours: Int64s, partitions: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Return each id's first (partition, offset), its own where it is new.

        `hours` are the events' hours since 1970: an event is known by id and hour.
        """
        ...


@dataclass(frozen=True)
class DedupOut:
    """Streams of `dedup`: first records, and frames of `duplicate_columns`, timed."""

    firsts: Stream[Batch]
    duplicates: Stream[pl.DataFrame]


def dedup_batches(
    batches: list[Batch], seen: DedupStore, id_column: str
) -> list[Batch | pl.DataFrame]:
    """Return the batches without duplicates, and a frame of these if there are any."""
    frame = merge(batches)
    # Also with no rows, once an epoch: the store has to notice in time if it lost its data.
    partitions = frame["source_partition"].cast(pl.Int64).to_numpy()
    offsets = frame["source_offset"].to_numpy()
    hours = in_micros(frame["event_time"]) // HOUR
    first_partitions, first_offsets = seen.first(frame[id_column], hours, partitions, offsets)
    own = (first_partitions == partitions) & (first_offsets == offsets)
    if own.all():
        return list(batches)
    again = np.flatnonzero(~own)
    duplicates = taken(frame, again).hstack(
        [
            pl.Series("first_partition", first_partitions[again].astype(np.int32)),
            pl.Series("first_offset", first_offsets[again]),
        ]
    )
    keep = pl.Series(own)
    firsts: list[Batch | pl.DataFrame] = []
    start = 0
    for batch in split(batches, frame):
        mask = keep.slice(start, len(batch))
        firsts.append(Batch(batch.progress, filtered(batch.frame, mask)))
        start += len(batch)
    return [*firsts, duplicates[[*duplicate_columns(id_column, timed=True)]]]


@operator
def dedup(step_id: str, up: Stream[Batch], seen: DedupStore, id_column: str) -> DedupOut:
    """Pass on the first record of each `id_column`; a replayed record recognises itself."""

    def shim(batches: list[Batch]) -> list[Batch | pl.DataFrame]:
        result = dedup_batches(batches, seen, id_column)
        for item in result:
            if isinstance(item, pl.DataFrame):
                metrics.DUPLICATES.inc(item.height)
        return result

    both = op.flat_map_batch("dedup", up, shim)
    sides = op.branch("first", both, lambda item: isinstance(item, Batch))
    return DedupOut(sides.trues, sides.falses)  # type: ignore[arg-type] # branch does not narrow

"""Canary: what became of the first few records of a replay, as the flow's tables tell it."""

import time
from collections.abc import Collection
from datetime import timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flows.streams import Stream
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.records.tables import Table
from ops.dlq.judge import JUDGED
from ops.dlq.quarantine import PLACE, Place, QuarantineError, quoted

FINE: Final = ("silver", "duplicate")
NOWHERE: Final = "in no table yet"
_EVERY: Final = 1.0


def awaited(
    root: str, stream: Stream, places: Collection[Place], within: timedelta
) -> pl.DataFrame:
    """Wait for records to be in the stream's tables; return for each where it is, as `outcome`.

    Of those that are in none when the time is over that is `NOWHERE`. Raises QuarantineError.
    """
    deadline, before = time.monotonic() + within.total_seconds(), None
    while True:
        found = became(root, stream, places)
        there = NOWHERE not in found["outcome"]
        # Twice the same: what a rule failed on is in silver, and refused a commit later.
        if (there and before is not None and found.equals(before)) or (
            not there and time.monotonic() >= deadline
        ):
            return found
        before = found if there else None
        time.sleep(_EVERY)


def became(root: str, stream: Stream, places: Collection[Place]) -> pl.DataFrame:
    """Return where records are, by their coordinates, with `outcome`; see `awaited`."""
    sent = pl.DataFrame(
        list(places), schema={name: JUDGED[name] for name in PLACE}, orient="row"
    ).sort(PLACE)
    refused = _rows(root, stream.quarantine, sent, ("stage", "code"))
    told = pl.format("refused: {} {}", "stage", "code")
    frames = [
        refused.select(*PLACE, outcome=told),
        _rows(root, stream.silver, sent).with_columns(outcome=pl.lit("silver")),
        _rows(root, stream.duplicates, sent).with_columns(outcome=pl.lit("duplicate")),
    ]
    # Refused stands first: that a rule failed on it is what there is to tell.
    first = pl.concat(frames).unique(PLACE, keep="first", maintain_order=True)
    return sent.join(first, on=PLACE, how="left", maintain_order="left").with_columns(
        pl.col("outcome").fill_null(NOWHERE)
    )


def _rows(
    root: str, table: Table, sent: pl.DataFrame, more: tuple[str, ...] = ()
) -> pl.DataFrame:
    columns = {name: table.schema[name] for name in (*PLACE, *more)}
    uri, frames = table_uri(root, table.name), [pl.DataFrame(schema=columns)]
    if not DeltaTable.is_deltatable(uri):
        return frames[0]
    handle = DeltaTable(uri)
    for (topic, partition), mine in sent.group_by(PLACE[:2]):
        offsets = ", ".join(map(str, mine["source_offset"]))
        where = (
            f"source_topic = {quoted(topic)} AND source_partition = {partition} "
            f"AND source_offset IN ({offsets})"
        )
        try:
            rows = read(handle, columns, where)
            frames.append(rows.select(pl.col(n).cast(kind) for n, kind in columns.items()))
        except DeltaError as error:
            raise QuarantineError(f"{table.name}: {error}") from error
    return pl.concat(frames)

"""Writing: what tables get of a stream's records, and how far these have come."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream as Flowing
from bytewax.outputs import Sink

from flows.settings import Settings
from flows.streams import Stream
from operators.records.batches import Batch
from operators.records.stretches import Kind, Part
from operators.records.tables import Table


def written(tables: Sequence[Table], stream: Stream, settings: Settings) -> list[Table]:
    """Return those of a stream's tables that its own flow writes."""
    if not settings.backfill_silver_alone:
        return list(tables)
    names = (stream.silver.name, *(() if stream.changes else (stream.duplicates.name,)))
    return [each for each in tables if each.name in names]


def counted(
    stream: Stream, bronze: Flowing[pl.DataFrame], rows: Mapping[str, Flowing[pl.DataFrame]]
) -> dict[str, Flowing[Any]]:
    """Return what the table of data quality counts, by its name, of the rows of other tables."""
    kinds: list[tuple[Kind, Flowing[pl.DataFrame]]] = [
        ("read", bronze),
        ("good", rows[stream.silver.name]),
        ("refused", rows[stream.quarantine.name]),
    ]
    if stream.duplicates.name in rows:
        kinds.append(("again", rows[stream.duplicates.name]))
    parts = [op.flat_map(f"count_{k}", each, partial(Part.of, k)) for k, each in kinds]
    return {stream.data_quality.name: op.merge("counted", *parts)}


def write_tables(
    rows: Mapping[str, Flowing[Any]],
    batches: Flowing[Batch],
    sink: Sink[Any],
    prefix: str = "",
) -> None:
    """Write each table's rows, by its name, and tell every table the progress of `batches`."""
    names = list(rows)
    progress = op.flat_map(
        f"{prefix}tables_progress",
        batches,
        lambda batch: [(name, batch.progress) for name in names],
    )
    tagged = [
        op.map(f"to_{name.replace('/', '_')}", stream, partial(_tag, name))
        for name, stream in rows.items()
    ]
    op.output(f"{prefix}tables", op.merge(f"{prefix}tables_rows", progress, *tagged), sink)


def _tag(name: str, rows: Any) -> tuple[str, Any]:
    return name, rows

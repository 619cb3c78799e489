"""Writing: what tables get of a stream's records, and how far these have come."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream as Flowing
from bytewax.outputs import Sink

from flows.settings import Settings
from flows.streams import Stream
from operators.records.batches import Batch, RawBatch
from operators.records.stretches import Kind, Part
from operators.records.tables import Table


def written(tables: Sequence[Table], stream: Stream, settings: Settings) -> list[Table]:
    """Return those of a stream's tables that its own flow writes."""
    if not settings.backfill_silver_alone:
        return list(tables)
    names = (stream.silver.name, *(() if stream.changes else (stream.duplicates.name,)))
    return [each for each in tables if each.name in names]


class Came(Protocol):
    """What came of a topic, raw, and what was found of the records' schemas, if that is kept."""

    @property
    def raw(self) -> Flowing[RawBatch]:
        """The raw records."""
        ...

    @property
    def drifts(self) -> Flowing[pl.DataFrame] | None:
        """Frames of `DRIFT_COLUMNS`."""
        ...


def watched(
    records: Came,
    stream: Stream,
    rows: Mapping[str, Flowing[pl.DataFrame]],
    prefix: str = "",
) -> dict[str, Flowing[Any]]:
    """Return what a stream's tables of data quality and of drift get, by their names.

    Quality is counted of the `rows` of other tables.
    """
    found: dict[str, Flowing[Any]] = {}
    if records.drifts is not None:
        found[stream.schema_drift.name] = records.drifts
    return found | (_counted(records, stream, rows, prefix) if stream.counted else {})


def _counted(
    records: Came,
    stream: Stream,
    rows: Mapping[str, Flowing[pl.DataFrame]],
    prefix: str,
) -> dict[str, Flowing[Any]]:
    ledger = stream.ledger
    read = None if ledger.records is None else rows.get(ledger.records.name)
    if read is None:
        # Nothing keeps them as they came.
        parts = [op.flat_map(f"{prefix}count_read", records.raw, Part.came)]
    else:
        parts = [op.flat_map(f"{prefix}count_read", read, partial(Part.of, "read"))]
    kinds: list[tuple[Kind, Table | None]] = [
        ("good", ledger.good), ("refused", ledger.refused), ("again", ledger.repeated)
    ]  # fmt: skip
    for kind, table in kinds:
        if table is not None and table.name in rows:
            of = partial(Part.of, kind, timed=ledger.timed)
            parts.append(op.flat_map(f"{prefix}count_{kind}", rows[table.name], of))
    return {stream.data_quality.name: op.merge(f"{prefix}counted", *parts)}


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

"""Wiring: what the topology of every flow has."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream
from bytewax.outputs import Sink

from operators.batches import Batch


def micros(duration: timedelta) -> int:
    """Return a duration in µs."""
    return duration // timedelta(microseconds=1)


def write_tables(
    rows: Mapping[str, Stream[pl.DataFrame]], batches: Stream[Batch], sink: Sink[Any]
) -> None:
    """Write each table's rows, by its name, and tell every table the progress of `batches`."""
    names = list(rows)
    progress = op.flat_map(
        "tables_progress", batches, lambda batch: [(name, batch.progress) for name in names]
    )
    tagged = [
        op.map(f"to_{name.replace('/', '_')}", stream, partial(_tag, name))
        for name, stream in rows.items()
    ]
    op.output("tables", op.merge("tables_rows", progress, *tagged), sink)


def _tag(name: str, rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    return name, rows

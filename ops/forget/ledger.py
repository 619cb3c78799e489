"""The ledger of what was forgotten: which records, and when they were, never whose or what."""

from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching
from operators.records.tables import COORDINATES, TIME, Table
from ops.dlq.acts import Acts

FORGOTTEN: Final = Table(
    "ops/forgotten",
    {
        "forget": pl.String(),
        "stream": pl.String(),
        "place": pl.String(),
        **COORDINATES,
        "event_time": TIME,
    },
)
"""A row per record that was forgotten: the `place` that it had, silver, duplicates or quarantine,
and its event time if it was in silver. Windows that had counted it are known by that."""


def forgotten(root: str, stream: str) -> pl.DataFrame:
    """Return what was forgotten of a stream, each record once; raises StorageUnavailableError."""
    uri = table_uri(root, FORGOTTEN.name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            return pl.DataFrame(schema=dict(FORGOTTEN.columns))
        rows = read(DeltaTable(uri), FORGOTTEN.columns)
    return rows.filter(stream=stream).unique([*COORDINATES], keep="first")


def note(root: str, forget: str, stream: str, places: pl.DataFrame) -> None:
    """Add records that are about to be forgotten; those that are there already are none."""
    known = forgotten(root, stream).select(*COORDINATES)
    new = places.join(known, on=[*COORDINATES], how="anti")
    if new.height:
        acts = Acts(root)
        rows = new.with_columns(forget=pl.lit(forget), stream=pl.lit(stream))
        acts.append(acts.opened(FORGOTTEN), FORGOTTEN, rows)

"""Columns of records in tables: as ingested, and as refused."""

from typing import Final

import polars as pl

from operators.records.tables import COORDINATES, TIME

HEADERS: Final = pl.List(pl.Struct({"key": pl.String(), "value": pl.Binary()}))

RAW_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    "key": pl.Binary(),
    "value": pl.Binary(),
    "headers": HEADERS,
}

REJECT_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "stage": pl.String(),
    "code": pl.String(),
    "message": pl.String(),
    "schema_id": pl.String(),
    **{name: RAW_COLUMNS[name] for name in ("kafka_timestamp", "key", "value", "headers")},
}

QUARANTINE_COLUMNS: Final[dict[str, pl.DataType]] = {
    **REJECT_COLUMNS,
    "fingerprint": pl.String(),
    "attempts": pl.Int32(),
}

RECORD: Final = ("key", "value", "headers")
"""The columns that a record itself is in, and that are encrypted where its rows are."""

KEY_ID: Final = "key_id"
"""The column with the id of the key that a row's record is encrypted with, null if it is not."""

ORIGIN_HEADER: Final = "millstream.origin"
"""The header of what is sent again that tells the coordinates of the reject that it is of."""

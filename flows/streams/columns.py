"""Table columns of Avro records."""

from typing import Any, Final

import polars as pl

import schemas
from operators.records.tables import TIME

_TYPES: Final[dict[str, pl.DataType]] = {
    "string": pl.String(),
    "long": pl.Int64(),
    "int": pl.Int32(),
    "double": pl.Float64(),
    "boolean": pl.Boolean(),
    "enum": pl.String(),
    "timestamp-micros": TIME,
}


def record_columns(record: str) -> dict[str, pl.DataType]:
    """Return the columns of a record's newest schema with their types."""
    return {field["name"]: _column(field["type"]) for field in schemas.latest(record)["fields"]}


def _column(avro: Any) -> pl.DataType:
    if isinstance(avro, list):
        return _column(next(branch for branch in avro if branch != "null"))
    if isinstance(avro, dict):
        return _TYPES[avro.get("logicalType") or avro["type"]]
    return _TYPES[avro]

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


def example_of(name: str, avro: Any) -> Any:
    """Return a value that a field may have, for cases that do not say."""
    if isinstance(avro, dict) and avro["type"] == "enum":
        return avro["symbols"][0]
    kind = avro["type"] if isinstance(avro, dict) else avro
    return {"string": f"{name.removesuffix('_id')}-1", "boolean": False, "double": 0.0}.get(
        kind, 0
    )

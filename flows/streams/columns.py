"""Table columns of Avro records."""

import polars as pl

import schemas
from operators.avro import columns_of


def record_columns(record: str) -> dict[str, pl.DataType]:
    """Return the columns of a record's newest schema with their types."""
    return columns_of(schemas.latest(record))

"""Tables of what came, and of what changes come to."""

from collections.abc import Mapping

import polars as pl

from operators.changes import CHANGED, Changes, merging
from operators.records.raw import RAW_COLUMNS
from operators.records.tables import BUCKET, Table


def bronze_table(name: str) -> Table:
    """Return a table of records as ingested."""
    return Table(
        name,
        {**RAW_COLUMNS, "ingest_date": pl.Date()},
        partition_by=("ingest_date",),
        scattered=("value",),
    )


def merged_table(
    name: str, changes: Changes | None, fields: Mapping[str, pl.DataType]
) -> Table:
    """Return the table of what changes of rows of these fields come to.

    Raises ValueError where there are no changes, or none that could be of such rows.
    """
    if changes is None:
        raise ValueError(f"{name}: the stream has no changes")
    changes.check(fields)
    kept = merging(changes, fields)
    return Table(
        name,
        kept.columns,
        partition_by=(BUCKET,),
        closes=CHANGED,
        scattered=changes.by,
        merging=kept,
    )

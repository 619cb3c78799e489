"""A table's columns as they are, and as the flow that writes it declares them."""

from typing import Final

import polars as pl
from deltalake import DeltaTable, Field, Schema

from operators.connectors.delta.errors import ANEW, UnfitTableError
from operators.records.tables import Table

_MAPPING: Final = "delta.columnMapping.mode"


def declared(table: Table) -> Schema:
    """Return the columns that a table is declared with."""
    arrow = pl.DataFrame(schema=table.schema).to_arrow(compat_level=pl.CompatLevel.oldest())
    return Schema.from_arrow(arrow.schema)


def missing_columns(handle: DeltaTable, table: Table) -> list[Field]:
    """Return what of the declared columns the table lacks.

    A column more is somebody else's, or a newer release's, and stays empty. Raises
    UnfitTableError where the flow's rows would not fit.
    """
    if handle.metadata().configuration.get(_MAPPING, "none") != "none":
        raise UnfitTableError(
            f"table {table.name} maps its columns to other names ({_MAPPING}), which this "
            f"engine cannot write: ALTER TABLE … SET TBLPROPERTIES ('{_MAPPING}' = 'none')"
        )
    there = {field.name: field for field in handle.schema().fields}
    types = columns_of(handle)
    problems, missing = [], []
    others = {name.lower(): name for name in there}
    for field in declared(table).fields:
        if field.name not in there:
            other = others.get(field.name.lower())
            if other:
                problems.append(f"has a column {other} where this flow writes {field.name}")
            missing.append(field)
        elif types[field.name] != table.schema[field.name]:
            theirs, ours = there[field.name].type.to_json(), field.type.to_json()
            problems.append(f"has column {field.name} as {theirs}, and this flow writes {ours}")
    problems += [
        f"has a column {name} that must not be null, and this flow does not know it"
        for name, field in there.items()
        if name not in table.schema and not field.nullable
    ]
    if problems:
        raise UnfitTableError(
            f"table {table.name} {'; '.join(problems)}. Run the release that it belongs to, or "
            f"{ANEW}"
        )
    return missing


def columns_of(handle: DeltaTable) -> pl.Schema:
    """Return the table's columns, in its order."""
    return pl.Schema(handle.schema())


def laid_out(rows: pl.DataFrame, columns: pl.Schema) -> pl.DataFrame:
    """Return the rows with a table's columns in its order; those that they lack are null."""
    empty = [
        pl.lit(None, kind).alias(name)
        for name, kind in columns.items()
        if name not in rows.columns
    ]
    return rows.with_columns(empty).select(*columns) if empty else rows.select(*columns)

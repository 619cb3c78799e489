"""A table's columns as they are, and as the flow that writes it declares them."""

from typing import Final

import polars as pl
from deltalake import DeltaTable, Field, Schema

from operators.connectors.delta.errors import ANEW, UnfitTableError
from operators.records.tables import Table

_MAPPING: Final = "delta.columnMapping.mode"

# What these ask of who writes is not about the rows that are added, or holds only where a
# property or a column says so; other features are deltalake's to obey.
_OF_NO_ROWS: Final = frozenset({
    "appendOnly", "changeDataFeed", "checkConstraints", "deletionVectors", "domainMetadata",
    "generatedColumns", "identityColumns", "invariants", "timestampNtz", "v2Checkpoint",
    "vacuumProtocolCheck",
})  # fmt: skip
_NO_FEATURES: Final = 2


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


def takes_files(handle: DeltaTable, table: Table) -> bool:
    """Tell whether files of rows can be added to a table as they are.

    Where rows change others, or somebody has declared what rows must be like, it is for deltalake
    to look at each.
    """
    protocol, known = handle.protocol(), handle.metadata()
    if protocol.min_writer_version > _NO_FEATURES:
        features = protocol.writer_features or ["none are told"]
        if not _OF_NO_ROWS.issuperset(features):
            return False
    kinds = [table.schema[name] for name in known.partition_columns if name in table.schema]
    return (
        table.merging is None
        and known.partition_columns == list(table.partition_by)
        and all(kind == pl.Date or kind.is_integer() for kind in kinds)
        and not any(name.startswith("delta.constraints.") for name in known.configuration)
        and all(
            field.nullable and field.metadata.keys() <= {"comment"}
            for field in handle.schema().fields
        )
    )

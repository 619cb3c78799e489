"""Read a writer's columns as the reader's: Avro's schema resolution, on columns.

Source: the Avro 1.12 specification, "Schema Resolution". Done: fields by name or alias,
defaults, promotions, nullability, enums with the reader's default. Two refusals are ours:
logical types that differ on one field (milliseconds read as microseconds would be wrong by
1000 without a sound), and writer unions of more than null and one type.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from operators.avro.compile import Field, Record, compile_record
from operators.avro.wire import SchemaError, Wire
from schemas import AvroSchema

# What columns hold before resolution, whichever decoder filled them.
WIRE_TYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int64(),
    "long": pl.Int64(),
    "enum": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "bytes": pl.Binary(),
    "string": pl.String(),
}
PROMOTIONS = {
    "int": {"int"},
    "long": {"int", "long"},
    "float": {"int", "long", "float"},
    "double": {"int", "long", "float", "double"},
    "string": {"string"},
    "boolean": {"boolean"},
    "enum": {"enum"},
}
_LOGICAL: dict[str | None, pl.DataType] = {
    "timestamp-micros": pl.Datetime("us", "UTC"),
    "timestamp-millis": pl.Datetime("ms", "UTC"),
}
_READER_TYPES = WIRE_TYPES | {"int": pl.Int32(), "enum": pl.String()}


class Reader:
    """A reader's schema: `fields`, and the `dtypes` of the columns that they become.

    Raises SchemaError for a schema with fields of any but string, boolean, int, long, float,
    double, enum, timestamp-micros and timestamp-millis, or a union of null and one of them.
    """

    def __init__(self, schema: AvroSchema) -> None:
        self.record = compile_record(schema)
        self.names = {self.record.name.rpartition(".")[2], *schema.get("aliases", ())}
        self.dtypes = {field.name: _dtype(field) for field in self.record.fields}

    def reads(self, writer: Record) -> bool:
        """Tell whether a writer's record has this one's name, or an alias of it."""
        return writer.name in self.names or writer.name.rpartition(".")[2] in self.names


def _dtype(field: Field) -> pl.DataType:
    wire = field.wire
    if wire.kind not in PROMOTIONS:
        raise SchemaError(f"field {field.name}: a column cannot hold the type {wire.kind}")
    if wire.kind == "long" and wire.logical in _LOGICAL:
        return _LOGICAL[wire.logical]
    return _READER_TYPES[wire.kind]


class Column:
    """How one of the reader's columns comes about: from which wire column, or a default.

    Raises SchemaError if it does in no record. `lacks` says what the column cannot hold of what
    may be written, empty if it can hold all.
    """

    def __init__(self, field: Field, dtype: pl.DataType, writer: Record) -> None:
        self.name, self.dtype, self.wire = field.name, dtype, field.wire
        names = [field.name, *field.schema.get("aliases", ())]
        found = [i for name in names for i, f in enumerate(writer.fields) if f.name == name]
        self.source = found[0] if found else None
        storage = pl.Int64() if dtype.is_temporal() else dtype
        value = field.schema.get("default")
        self.default = pl.Series(field.name, [value], storage).cast(dtype)
        self.symbols: pl.Series | None = None
        self.lacks = ""
        if self.source is not None:
            self._match(writer.fields[self.source].wire)
        elif "default" not in field.schema:
            raise SchemaError(f"field {self.name}: not written, and has no default")

    def _match(self, written: Wire) -> None:
        if written.kind not in PROMOTIONS[self.wire.kind]:
            raise SchemaError(
                f"field {self.name}: written as {written.kind}, read as {self.wire.kind}"
            )
        if written.logical and self.wire.logical and written.logical != self.wire.logical:
            raise SchemaError(
                f"field {self.name}: written as {written.logical}, read as {self.wire.logical}"
            )
        if written.null_first is not None and self.wire.null_first is None:
            self.lacks = f"field {self.name}: may be written as null, read as never null"
        if self.wire.kind == "enum":
            known = set(self.wire.symbols)
            other = self.wire.default
            if other is None and (gone := [s for s in written.symbols if s not in known]):
                self.lacks = (
                    f"field {self.name}: written as {', '.join(gone)}, of which the reader knows "
                    "nothing, and it has no default symbol"
                )
            self.symbols = pl.Series(
                [symbol if symbol in known else other for symbol in written.symbols],
                dtype=pl.String,
            )

    def read(self, columns: Sequence[pl.Series], height: int) -> pl.Series:
        """Return the column, of `height` rows; `columns` are as of `Resolver.resolve`."""
        if self.source is None:
            return self.default.new_from_index(0, height)
        column = columns[self.source]
        if self.symbols is not None:
            column = self.symbols.gather(column)
        if column.dtype != self.dtype:
            column = column.cast(self.dtype)
        return column.alias(self.name)

    def unreadable(self, column: pl.Series, columns: Sequence[pl.Series]) -> pl.Series | None:
        """Return which rows have no value for the reader, or None if all have."""
        if self.source is None:
            return None
        written = columns[self.source]
        allowed = 0 if self.wire.null_first is None else written.null_count()
        if column.null_count() == allowed:
            return None
        return column.is_null() if not allowed else column.is_null() & written.is_not_null()


class Resolver:
    """Reads columns of `writer` as columns of `reader`.

    Raises SchemaError if no record of the one can be read as the other.
    """

    def __init__(self, writer: Record, reader: Reader) -> None:
        if not reader.reads(writer):
            raise SchemaError("the records have different names")
        self._columns = [
            Column(field, reader.dtypes[field.name], writer) for field in reader.record.fields
        ]

    def resolve(
        self, columns: Sequence[pl.Series], height: int
    ) -> tuple[pl.DataFrame, dict[int, str]]:
        """Return the reader's frame, rows it cannot hold included, and why for each of those.

        `columns` has a Series for each of the writer's fields, of `WIRE_TYPES`; what stands
        for a field that the reader does not have is ignored.
        """
        series = [column.read(columns, height) for column in self._columns]
        reasons: dict[int, str] = {}
        for column, values in zip(self._columns, series, strict=True):
            unreadable = column.unreadable(values, columns)
            if unreadable is not None:
                why = "a null or a symbol that the reader does not have"
                for row in np.flatnonzero(unreadable.to_numpy()).tolist():
                    reasons.setdefault(row, f"field {column.name}: {why}")
        return pl.DataFrame(series), reasons

"""Read a writer's columns as the reader's: Avro's schema resolution, on columns.

Source: the Avro 1.12 specification, "Schema Resolution". Done: fields by name or alias,
defaults, promotions, nullability, enums with the reader's default, and all of it inside of nested
types (`nesting`). One refusal is ours: logical types that differ on one field (milliseconds read as
microseconds would be wrong by 1000 without a sound).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from operators.avro.compile import Record, compile_record
from operators.avro.defaults import plain
from operators.avro.kinds import dtype_of, logical_of
from operators.avro.leaves import same_logical, symbols_of
from operators.avro.nesting import (
    PROMOTIONS,
    Reading,
    default_of,
    reading,
    source_of,
)
from operators.avro.wire import Field, SchemaError, Wire
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
WireColumn = Any
"""A writer's column: a Series of `WIRE_TYPES`, or a ChunkedArray of what `arrow_of` says."""

_NONE: Final = Record("", ())
FLAT: Final = frozenset({"boolean", "int", "long", "enum", "float", "double", "string"})


class Reader:
    """A reader's schema: `fields`, and the `dtypes` of the columns that they become.

    Records become Struct, arrays List, maps List of Struct of key and value, and unions of more
    than null and one type Struct with a field for each. Raises SchemaError for a schema with a
    field that is no column: null alone, a record of nothing or that holds itself.
    """

    def __init__(self, schema: AvroSchema) -> None:
        self.record = compile_record(schema)
        self.names = {self.record.name.rpartition(".")[2], *schema.get("aliases", ())}
        self.dtypes = {
            field.name: dtype_of(field.wire, field.name) for field in self.record.fields
        }

    def reads(self, writer: Record) -> bool:
        """Tell whether a writer's record has this one's name, or an alias of it."""
        return writer.name in self.names or writer.name.rpartition(".")[2] in self.names


def columns_of(schema: AvroSchema) -> dict[str, pl.DataType]:
    """Return the columns of a schema's records; raises SchemaError as `Reader` does."""
    return Reader(schema).dtypes


def values_of_fields(schema: AvroSchema) -> dict[str, Any]:
    """Return a value for each of the schema's fields, as its column has it.

    Its default, or, where it has none, null or nothing as far as its type has that.
    """
    reader = Reader(schema)
    found = {}
    for field in reader.record.fields:
        stated = {"default": plain(field.wire)} | dict(field.schema)
        column = Column(Field(field.name, field.wire, stated), reader.dtypes[field.name], _NONE)
        found[field.name] = column.read([], 1)[0].to_list()[0]
    return found


def _flat(wire: Wire) -> bool:
    """Tell whether a column of a type is, but for a cast, what lies in the bytes."""
    return wire.kind in FLAT and logical_of(wire) in (None, "timestamp-micros")


class Column:
    """How one of the reader's columns comes about: from which wire column, or a default.

    Raises SchemaError if it does in no record. `lacks` says what the column cannot hold of what
    may be written, nothing if it can hold all.
    """

    def __init__(self, field: Field, dtype: pl.DataType, writer: Record) -> None:
        self.name, self.dtype, self.wire = field.name, dtype, field.wire
        self.source = source_of(field, writer.fields)
        self.lacks: list[str] = []
        self.symbols: pl.Series | None = None
        self.default: pl.Series | None = None
        self.nested: Reading | None = None
        if self.source is None:
            if "default" not in field.schema:
                raise SchemaError(f"field {self.name}: not written, and has no default")
            self.default = self._default(field.schema["default"])
        else:
            written = writer.fields[self.source].wire
            if _flat(self.wire) and written.kind in PROMOTIONS[self.wire.kind] & FLAT:
                same_logical(written, self.wire, self.name)
                if written.null_first is not None and self.wire.null_first is None:
                    self.lacks.append(
                        f"field {self.name}: may be written as null, read as never null"
                    )
                self.symbols = symbols_of(written, self.wire, self.name, self.lacks)
            else:
                self.nested = reading(written, self.wire, self.name, self.lacks)

    def _default(self, value: Any) -> pl.Series:
        if not _flat(self.wire):
            return pl.Series(self.name, default_of(self.wire, value, self.name))
        storage = pl.Int64() if self.dtype.is_temporal() else self.dtype
        return pl.Series(self.name, [value], storage).cast(self.dtype)

    def read(
        self, columns: Sequence[WireColumn], height: int
    ) -> tuple[pl.Series, pl.Series | None]:
        """Return the column, of `height` rows, and which rows have no value for the reader.

        None if all have; `columns` are as of `Resolver.resolve`.
        """
        if self.default is not None:
            return self.default.new_from_index(0, height), None
        written = columns[self.source or 0]
        if self.nested is not None:
            return self._nested(written, self.nested)
        column = written if self.symbols is None else self.symbols.gather(written)
        if column.dtype != self.dtype:
            column = column.cast(self.dtype)
        return column.alias(self.name), self._lost(column, written)

    def _nested(
        self, written: WireColumn, nested: Reading
    ) -> tuple[pl.Series, pl.Series | None]:
        if isinstance(written, pl.Series):
            written = pa.chunked_array([written.to_arrow(compat_level=pl.CompatLevel.oldest())])
        made = [nested.read(chunk) for chunk in written.chunks if len(chunk)]
        if not made:
            return pl.Series(self.name, [], self.dtype), None
        column = pl.Series(self.name, pa.chunked_array([values for values, _ in made]))
        lost = np.concatenate([bad for _, bad in made])
        return column, pl.Series(lost) if lost.any() else None

    def _lost(self, column: pl.Series, written: pl.Series) -> pl.Series | None:
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

    @property
    def needed(self) -> set[int]:
        """Which of the writer's fields are read."""
        return {each.source for each in self._columns if each.source is not None}

    def resolve(
        self, columns: Sequence[WireColumn], height: int
    ) -> tuple[pl.DataFrame, dict[int, str]]:
        """Return the reader's frame, rows it cannot hold included, and why for each of those.

        `columns` has one for each of the writer's fields, as `WireColumn` says; what stands
        for a field that the reader does not have is ignored.
        """
        series = []
        reasons: dict[int, str] = {}
        for column in self._columns:
            values, unreadable = column.read(columns, height)
            series.append(values)
            if unreadable is not None:
                why = "a null or a symbol that the reader does not have"
                if column.nested is not None:
                    why = "a null, a symbol or a number that the reader does not have"
                for row in np.flatnonzero(unreadable.to_numpy()).tolist():
                    reasons.setdefault(row, f"field {column.name}: {why}")
        return pl.DataFrame(series), reasons

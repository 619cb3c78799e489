"""Kinds: which column each Avro type becomes, and how values of it lie before resolution."""

from typing import Any, Final

import polars as pl
import pyarrow as pa

from operators.avro.wire import SchemaError, Wire

LEAVES: Final[dict[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "enum": pl.String(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "bytes": pl.Binary(),
    "fixed": pl.Binary(),
    "string": pl.String(),
}
LOGICAL: Final[dict[tuple[str, str | None], pl.DataType]] = {
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("long", "timestamp-millis"): pl.Datetime("us", "UTC"),
    ("long", "local-timestamp-micros"): pl.Datetime("us"),
    ("long", "local-timestamp-millis"): pl.Datetime("us"),
    ("int", "date"): pl.Date(),
    # Delta has no times of day, and no times finer than microseconds.
    ("int", "time-millis"): pl.Int64(),
    ("fixed", "duration"): pl.Struct(dict.fromkeys(("months", "days", "millis"), pl.Int64())),
    ("fixed", "uuid"): pl.String(),
}
_ARROW: Final[dict[str, Any]] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "enum": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "string": pa.string(),
}
SIZES: Final = {"duration": 12, "uuid": 16}

MOST_SWELL: Final = 32
"""Of a byte of an array: items that may be null and have many fields could fill the memory."""

_MOST_LEAVES: Final = 1_000
_MOST_DEPTH: Final = 32


def logical_of(wire: Wire) -> str | None:
    """Return a type's logical type, None where it is one that stays as it lies."""
    if wire.digits is not None:
        return "decimal"
    known = (wire.kind, wire.logical) in LOGICAL
    if known and wire.kind == "fixed" and wire.size != SIZES[wire.logical or ""]:
        return None
    return wire.logical if known else None


def dtype_of(wire: Wire, name: str) -> pl.DataType:
    """Return the column's type for a field `name`; raises SchemaError if there is none."""
    refuse_vast(wire, name)
    if wire.digits is not None:
        return pl.Decimal(*wire.digits)
    if (logical := logical_of(wire)) is not None:
        return LOGICAL[wire.kind, logical]
    if wire.kind in LEAVES:
        return LEAVES[wire.kind]
    if wire.kind == "array":
        return pl.List(dtype_of(wire.parts[0].wire, f"{name}[]"))
    names = branches(wire) if wire.kind == "union" else {p.name: p.wire for p in wire.parts}
    if not names:
        raise SchemaError(f"field {name}: a column cannot hold the type {wire.kind}")
    fields = {each: dtype_of(part, f"{name}.{each}") for each, part in names.items()}
    if len({each.lower() for each in fields}) < len(fields):
        raise SchemaError(f"field {name}: two names in it differ in their case only")
    return pl.List(pl.Struct(fields)) if wire.kind == "map" else pl.Struct(fields)


def refuse_vast(wire: Wire, name: str) -> None:
    """Raise SchemaError for a field whose column would have too many in it, or too deep."""
    if wire.depth > _MOST_DEPTH or wire.leaves > _MOST_LEAVES:
        raise SchemaError(
            f"field {name}: a column holds at most {_MOST_LEAVES:,} fields, {_MOST_DEPTH} deep"
        )
    if wire.swell > MOST_SWELL:
        raise SchemaError(
            f"field {name}: a byte of it may be {wire.swell:,} values, and {MOST_SWELL} are read"
        )


def branches(wire: Wire) -> dict[str, Wire]:
    """Return a union's types but null, by the names that they have in the column."""
    found = {}
    for part in wire.parts:
        if part.wire.kind != "null":
            name = part.wire.name.rpartition(".")[2] or part.wire.kind
            if name in found:
                raise SchemaError(f"a union has two types of the name {name}")
            found[name] = part.wire
    return found


def arrow_of(wire: Wire) -> Any:
    """Return the Arrow type of values as `Wire.read` gives them, or as the bulk decoder does."""
    if wire.kind in _ARROW:
        return _ARROW[wire.kind]
    parts = [(part.name, arrow_of(part.wire)) for part in wire.parts]
    if wire.kind == "array":
        return pa.list_(parts[0][1])
    if wire.kind == "map":
        return pa.list_(pa.struct(parts))
    return pa.struct(parts)


def arrow_type(dtype: pl.DataType) -> Any:
    """Return the Arrow type of a column's values."""
    return pl.Series(dtype=dtype).to_arrow(compat_level=pl.CompatLevel.oldest()).type

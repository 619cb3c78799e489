"""Of Avro: an Avro schema as the JSON Schema that plain JSON records of it are of.

Values are as Avro's own JSON encoding has them, but for unions, of which the value stands alone:
null or a value of the one other type. Times and days are Avro's numbers.
"""

from typing import Any, Final

import polars as pl
import pyarrow as pa

from operators.avro import columns_of as avro_columns
from operators.avro.compile import compile_record
from operators.avro.kinds import logical_of
from operators.avro.wire import INT_MAX, INT_MIN, Field, Wire
from operators.json_schema.columns import Column, refuse_unfit
from schemas import AvroSchema

_LONG: Final = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
# Those that are times after they have been scaled.
_MILLIS: Final = {
    "type": "integer",
    "minimum": -(2**63) // 1000 + 1,
    "maximum": 2**63 // 1000 - 1,
}
_LEAVES: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    "boolean": ({"type": "boolean"}, pa.bool_()),
    "int": ({"type": "integer", "minimum": INT_MIN, "maximum": INT_MAX}, pa.int32()),
    "long": (_LONG, pa.int64()),
    "float": ({"type": "number"}, pa.float32()),
    "double": ({"type": "number"}, pa.float64()),
    "string": ({"type": "string"}, pa.string()),
}
_LOGICAL: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    "timestamp-micros": (_LONG, pa.timestamp("us", "UTC")),
    "timestamp-millis": (_MILLIS, pa.timestamp("ms", "UTC")),
    "local-timestamp-micros": (_LONG, pa.timestamp("us")),
    "local-timestamp-millis": (_MILLIS, pa.timestamp("ms")),
    "date": (_LEAVES["int"][0], pa.date32()),
    "time-millis": (_LEAVES["int"][0], pa.int64()),
}


def of_avro(schema: AvroSchema) -> tuple[dict[str, Any], dict[str, Column], dict[str, Any]]:
    """Return the JSON Schema of a record's plain JSON, its columns, and the values of what lacks.

    Raises operators.avro.wire.SchemaError for what is no schema of a record or no columns, and
    ValueError for types that plain JSON cannot tell: bytes, fixed, decimals, and unions of
    more than null and one type.
    """
    dtypes, fields = avro_columns(schema), compile_record(schema).fields
    refuse_unfit(list(dtypes))
    properties, columns, defaults = {}, {}, {}
    required = []
    for field in fields:
        said, arrow = _told(field.wire, field.name)
        properties[field.name] = said
        nullable = field.wire.null_first is not None
        columns[field.name] = Column(dtypes[field.name], arrow, nullable=nullable)
        if "default" not in field.schema:
            required.append(field.name)
        elif field.schema["default"] is not None:
            defaults[field.name] = field.schema["default"]
    return (
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": required,
        },
        columns,
        defaults,
    )


def _told(wire: Wire, name: str) -> tuple[dict[str, Any], Any]:
    said, arrow = _whole(wire, name)
    if wire.null_first is None:
        return said, arrow
    return {"anyOf": [{"type": "null"}, said]}, arrow


def _whole(wire: Wire, name: str) -> tuple[dict[str, Any], Any]:
    logical = logical_of(wire)
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    if wire.kind in _LEAVES:
        return _LEAVES[wire.kind]
    if wire.kind == "enum":
        return {"enum": list(wire.symbols)}, pa.string()
    if wire.kind == "array":
        items, arrow = _told(wire.parts[0].wire, f"{name}[]")
        return {"type": "array", "items": items}, pa.list_(arrow)
    if wire.kind == "map":
        values, arrow = _told(wire.parts[1].wire, f"{name}[]")
        of = {"type": "object", "additionalProperties": values}
        return of, pa.map_(pa.string(), arrow)
    if wire.kind == "record":
        return _record(wire.parts, name)
    what = "a union of several types" if wire.kind == "union" else wire.kind
    raise ValueError(f"field {name}: plain JSON does not tell {what}; use a JSON Schema")


def _record(parts: tuple[Field, ...], name: str) -> tuple[dict[str, Any], Any]:
    told = {part.name: _told(part.wire, f"{name}.{part.name}") for part in parts}
    lacking = [p.name for p in parts if p.schema.get("default", 0) is not None]
    said = {
        "type": "object",
        "properties": {each: one for each, (one, _) in told.items()},
        "required": lacking,
    }
    return said, pa.struct([(each, arrow) for each, (_, arrow) in told.items()])


def plain_dtypes(columns: dict[str, Column]) -> dict[str, pl.DataType]:
    """Return the types of columns by name."""
    return {name: each.dtype for name, each in columns.items()}

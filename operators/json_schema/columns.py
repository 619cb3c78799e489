"""Columns: what the records of a JSON Schema become in a table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from operators.records.tables import TIME

JsonSchema = Mapping[str, Any]
Made = Literal["as it is", "text", "time", "date"]

_SCALARS: Final[dict[str, tuple[pl.DataType, Any]]] = {
    "string": (pl.String(), pa.string()),
    "integer": (pl.Int64(), pa.int64()),
    "number": (pl.Float64(), pa.float64()),
    "boolean": (pl.Boolean(), pa.bool_()),
}
_TIMES: Final[dict[str, tuple[Made, pl.DataType]]] = {
    "date-time": ("time", TIME),
    "date": ("date", pl.Date()),
}
_OF_VALUES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}
_MOST_DEPTH: Final = 16
_MOST_REFERENCES: Final = 32
# Delta takes no others in a column's name.
_NAME: Final = re.compile(r"[^ ,;{}()\n\t=]+")


@dataclass(frozen=True)
class Column:
    """A column of a property: its type, the Arrow type that values are made into, and how.

    A `text` is the value as JSON, where no type is that of every value; a `time` or `date` is read
    of a text. `nullable` says whether good records may lack it, or have null.
    """

    dtype: pl.DataType
    arrow: Any
    made: Made = "as it is"
    nullable: bool = True


_TEXT: Final = Column(pl.String(), pa.string(), "text")


def columns_of(schema: Any) -> dict[str, Column]:
    """Return a column for each of a schema's `properties`, in their order.

    A property that is a string, a number, an integer, a Boolean, an object with properties or an
    array of such is a column of that; a text with format `date-time` or `date` is a time or a
    day. What may be of several types, or is not said, is kept as JSON.

    Raises ValueError for properties that no table can have as columns.
    """
    if not isinstance(schema, Mapping):
        return {}
    whole = resolved(schema, schema)
    properties = whole.get("properties", {}) if whole else {}
    required = set(whole.get("required", ())) if whole else set()
    names = [name for name, each in properties.items() if each is not False]
    refuse_unfit(names)
    return {name: _column(properties[name], schema, name in required) for name in names}


def refuse_unfit(names: list[str]) -> None:
    """Raise ValueError where a table cannot have columns of these names."""
    odd = [name for name in names if not _NAME.fullmatch(name)]
    if odd:
        raise ValueError(f"no column can be called {', '.join(map(repr, odd))}")
    if len({name.lower() for name in names}) < len(names):
        raise ValueError("two properties differ in the case of their names only")


def _column(schema: Any, root: JsonSchema, required: bool) -> Column:
    found = resolved(schema, root)
    if found is None:
        return _TEXT
    kind, null = _type(found)
    nullable = null or not required
    if kind == "string" and found.get("format") in _TIMES:
        made, dtype = _TIMES[found["format"]]
        return Column(dtype, pa.string(), made, nullable)
    typed = _typed(found, root, 0)
    if typed is None:
        return Column(_TEXT.dtype, _TEXT.arrow, "text", nullable)
    return Column(*typed, "as it is", nullable)


def _typed(schema: Any, root: JsonSchema, depth: int) -> tuple[pl.DataType, Any] | None:
    """Return the types of a column of what a schema describes, None where there is none."""
    found = resolved(schema, root)
    if found is None or depth > _MOST_DEPTH:
        return None
    kind, _ = _type(found)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind == "array":
        items = _typed(found.get("items"), root, depth + 1)
        return None if items is None else (pl.List(items[0]), pa.list_(items[1]))
    properties = found.get("properties")
    if kind != "object" or not properties:
        return None
    fields = {name: _typed(each, root, depth + 1) for name, each in properties.items()}
    try:
        refuse_unfit(list(fields))
    except ValueError:
        return None
    if any(each is None for each in fields.values()):
        return None
    kept = {name: each for name, each in fields.items() if each is not None}
    return (
        pl.Struct({name: dtype for name, (dtype, _) in kept.items()}),
        pa.struct([(name, arrow) for name, (_, arrow) in kept.items()]),
    )


def resolved(schema: Any, root: Any) -> Mapping[str, Any] | None:
    """Return what a schema says with its reference followed, and without a null beside it."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if reference is None:
            return _without_null(schema, root)
        target = _at(root, reference)
        if not isinstance(target, Mapping):
            return None
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    return None


def _without_null(schema: Mapping[str, Any], root: JsonSchema) -> Mapping[str, Any] | None:
    for word in ("anyOf", "oneOf"):
        branches = schema.get(word)
        if "type" in schema or not isinstance(branches, list):
            continue
        others = [each for each in branches if each != {"type": "null"}]
        if len(others) == 1 and len(branches) == 2:
            found = resolved(others[0], root)
            kind = None if found is None else found.get("type")
            return (
                found and {**found, "type": [kind, "null"]} if isinstance(kind, str) else None
            )
    return schema


def _type(schema: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return the one type but null of what a schema describes, and if it may be null."""
    stated = schema.get("type")
    if stated is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        kinds = {"null" if v is None else _OF_VALUES.get(type(v), "") for v in values}
    else:
        kinds = set(stated if isinstance(stated, list) else [stated])
    some = kinds - {"null"}
    if some == {"integer", "number"}:
        some = {"number"}
    return next(iter(some)) if len(some) == 1 else None, "null" in kinds


def _at(root: Any, reference: str) -> Any:
    """Return what a reference in the schema itself points to, None for any other."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found = root
    for part in filter(None, reference[1:].split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found

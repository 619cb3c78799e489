"""From a record's Avro schema to readers of its fields."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from operators.avro import wire
from operators.avro.wire import Field, MalformedError, SchemaError, Wire

MOST_DIGITS: Final = 38
"""Of a decimal that is one in Arrow and Delta; one with more is its bytes."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record's full name and its fields, in the order of its bytes."""

    name: str
    fields: tuple[Field, ...]

    def read(self, body: bytes) -> list[Any]:
        """Read one record: a value for each field, as `Wire.read` gives them.

        Raises MalformedError naming the field, and UnicodeDecodeError for a bad string.
        """
        values: list[Any] = []
        at = 0
        try:
            for field in self.fields:
                value, at = field.wire.read(body, at)
                values.append(value)
        except (IndexError, struct.error):
            name = self.fields[len(values)].name
            raise MalformedError(f"field {name}: the data ends too early") from None
        except MalformedError as error:
            name = self.fields[len(values)].name
            raise MalformedError(f"field {name}: {error}") from None
        return values


def compile_record(schema: Any) -> Record:
    """Compile a record's schema, as JSON values.

    Raises SchemaError if it is no record, refers to names that it does not define, holds
    itself (a few bytes could nest as deep as they like), or arrays of nothing.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise SchemaError("the schema is not a record")
    try:
        return _Compiler({}).record(schema, "")
    except SchemaError:
        raise
    except RecursionError as error:
        raise SchemaError("the schema is nested too deep") from error
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise SchemaError("the schema is not valid Avro") from error


class _Compiler:
    """Holds the named types met so far; None for one that is still open."""

    def __init__(self, named: dict[str, Wire | None]) -> None:
        self.named = named

    def record(self, schema: Mapping[str, Any], namespace: str) -> Record:
        name, namespace = _full_name(schema, namespace)
        self.named[name] = None
        fields = tuple(
            Field(field["name"], self.type(field["type"], namespace), field)
            for field in schema["fields"]
        )
        if len({field.name for field in fields}) != len(fields):
            raise SchemaError("two fields have one name")
        return Record(name, fields)

    def type(self, schema: Any, namespace: str) -> Wire:
        if isinstance(schema, str):
            return wire.PRIMITIVES.get(schema) or self._reference(schema, namespace)
        if isinstance(schema, list):
            return self._union([self.type(branch, namespace) for branch in schema])
        kind = schema["type"]
        if isinstance(kind, dict | list):
            return self.type(kind, namespace)
        if kind == "array":
            items = self.type(schema["items"], namespace)
            return wire.nested("array", wire.read_blocks(items), 1, [Field("item", items, {})])
        if kind == "map":
            values = self.type(schema["values"], namespace)
            parts = [Field("key", wire.PRIMITIVES["string"], {}), Field("value", values, {})]
            entry = wire.nested("record", wire.read_record(parts), 1 + values.width, parts)
            return wire.nested("map", wire.read_blocks(entry), 1, parts)
        if kind in ("record", "enum", "fixed"):
            return self._named(kind, schema, namespace)
        found = self.type(kind, namespace)
        return _logical(found, schema)

    def _named(self, kind: str, schema: Mapping[str, Any], namespace: str) -> Wire:
        name, _ = _full_name(schema, namespace)
        aliases = tuple(schema.get("aliases", ()))
        if kind == "record":
            fields = self.record(schema, namespace).fields
            width = sum(field.wire.width for field in fields)
            found = wire.nested(
                kind, wire.read_record(fields), width, fields, name=name, aliases=aliases
            )
        elif kind == "enum":
            symbols = tuple(schema["symbols"])
            found = Wire(
                kind, wire.read_enum(len(symbols)), 1, name, symbols, schema.get("default")
            )
        else:
            size = int(schema["size"])
            found = Wire(kind, wire.read_fixed(size), size, name, size=size, aliases=aliases)
            found = _logical(found, schema)
        self.named[name] = found
        return found

    def _reference(self, name: str, namespace: str) -> Wire:
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        try:
            found = self.named[full]
        except KeyError:
            raise SchemaError("the schema refers to a type that it does not define") from None
        if found is None:
            raise SchemaError("records that hold themselves are not read")
        return found

    @staticmethod
    def _union(branches: list[Wire]) -> Wire:
        nulls = [branch.kind == "null" for branch in branches]
        if nulls in ([True, False], [False, True]):
            return wire.nullable(branches[nulls.index(False)], branches, nulls[0])
        width = 1 + min((branch.width for branch in branches), default=0)
        parts = [Field(str(number), branch, {}) for number, branch in enumerate(branches)]
        found = wire.nested("union", wire.read_choice(branches), width, parts)
        return replace(found, null_first=nulls[0]) if any(nulls) else found


def _logical(found: Wire, schema: Mapping[str, Any]) -> Wire:
    """Return a type as its schema's logical one; one that is unknown or wrong is none."""
    logical = schema.get("logicalType")
    if logical != "decimal":
        return replace(found, logical=logical)
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if found.kind not in ("bytes", "fixed") or not (
        type(precision) is int and type(scale) is int
    ):
        return found
    fits = 0 <= scale <= precision and 0 < precision <= MOST_DIGITS
    if not fits or (
        found.kind == "fixed" and 10**precision > 2 ** (8 * min(found.size, 17) - 1)
    ):
        return found
    return replace(found, logical=logical, digits=(precision, scale))


def _full_name(schema: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Return a named type's full name and the namespace inside it."""
    name = schema["name"]
    if "." not in name:
        space = schema.get("namespace", namespace)
        name = f"{space}.{name}" if space else name
    return name, name.rpartition(".")[0]

"""From a record's Avro schema to readers of its fields."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from operators.avro import wire
from operators.avro.wire import MalformedError, SchemaError, Wire


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its reader, and what the schema says besides."""

    name: str
    wire: Wire
    schema: Mapping[str, Any]


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
            return Wire("array", wire.skip_blocks(items), 1)
        if kind == "map":
            entry = (wire.PRIMITIVES["string"], self.type(schema["values"], namespace))
            return Wire("map", wire.skip_blocks(*entry), 1)
        if kind in ("record", "enum", "fixed"):
            return self._named(kind, schema, namespace)
        found = self.type(kind, namespace)
        return replace(found, logical=schema.get("logicalType"))

    def _named(self, kind: str, schema: Mapping[str, Any], namespace: str) -> Wire:
        name, _ = _full_name(schema, namespace)
        logical = schema.get("logicalType")
        if kind == "record":
            fields = [field.wire for field in self.record(schema, namespace).fields]
            width = sum(field.width for field in fields)
            found = Wire(kind, wire.skip_record(fields), width, name)
        elif kind == "enum":
            symbols = tuple(schema["symbols"])
            found = Wire(
                kind, wire.read_enum(len(symbols)), 1, name, symbols, schema.get("default")
            )
        else:
            size = int(schema["size"])
            found = Wire(kind, wire.read_fixed(size), size, name, logical=logical)
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
        return Wire("union", wire.read_union(branches), width)


def _full_name(schema: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Return a named type's full name and the namespace inside it."""
    name = schema["name"]
    if "." not in name:
        space = schema.get("namespace", namespace)
        name = f"{space}.{name}" if space else name
    return name, name.rpartition(".")[0]

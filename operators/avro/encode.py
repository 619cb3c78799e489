"""Encode: a record as `explain` shows it, back to the bytes that a schema makes of it.

The inverse of `Walk`, by the schema as it is: what Walk tells of bytes, and a person may have
changed, is taken for the same kind of value. A library's writer guesses a union's branch and takes
texts for times by rules of its own.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from operators.avro.framing import SchemaId
from operators.avro.walk import EPOCH, UNITS, Named, named_types, space_of
from operators.avro.wire import INT_MAX, INT_MIN

_LONG_MIN: Final = -(2**63)
_LONG_MAX: Final = 2**63 - 1
_DAY: Final = timedelta(days=1)


class NotOfSchemaError(ValueError):
    """A value is none of its field's type; the message names the field and shows no value."""


def framed(schema_id: SchemaId) -> bytes:
    """Return what stands before the body of a record of a schema."""
    if isinstance(schema_id, int):
        return b"\0" + schema_id.to_bytes(4, "big")
    return b"\1" + schema_id.bytes


def encode(record: Any, schema: Mapping[str, Any]) -> bytes:
    """Return the body of a record, a JSON object as `Explained.record` is.

    Times are ISO texts (UTC unless they say another offset) or numbers as in Avro, bytes are hex,
    fractions that JSON lacks are "nan", "inf" and "-inf". A field that is missing has its default.
    Of a union it is the first branch that can hold the value.
    Raises NotOfSchemaError.
    """
    try:
        writer = _Writer(named_types(schema))
        writer.write(schema, record, "", "")
    except RecursionError:
        raise NotOfSchemaError("the record: is nested too deep") from None
    return bytes(writer.out)


class _Writer:
    def __init__(self, named: Named) -> None:
        self.out = bytearray()
        self._named = named

    def write(self, schema: Any, value: Any, path: str, space: str, logical: str = "") -> None:
        if isinstance(schema, list):
            self._union(schema, value, path, space)
        elif isinstance(schema, str):
            leaf = _LEAVES.get(schema)
            if leaf is not None:
                self.out += leaf(_raw(value, logical, path), path)
            else:
                full = f"{space}.{schema}" if space and "." not in schema else schema
                self._name(*self._named[full], value, path)
        else:
            kind = schema["type"]
            if kind == "array":
                self._blocks(value, list, path)
                for number, each in enumerate(value):
                    self.write(schema["items"], each, f"{path}[{number}]", space)
                self.out += b"\0"
            elif kind == "map":
                self._blocks(value, dict, path)
                for key, each in value.items():
                    self.out += _string(key, path)
                    self.write(schema["values"], each, f"{path}[{key}]", space)
                self.out += b"\0"
            elif kind in ("record", "enum", "fixed"):
                self._name(schema, space_of(schema, space), value, path)
            else:
                self.write(kind, value, path, space, schema.get("logicalType") or "")

    def _blocks(self, value: Any, kind: type[Any], path: str) -> None:
        if not isinstance(value, kind):
            raise _refused(path, "an array" if kind is list else "a map")
        if value:
            self.out += zigzag(len(value))

    def _name(self, schema: Mapping[str, Any], space: str, value: Any, path: str) -> None:
        if schema["type"] == "record":
            self._record(schema, space, value, path)
        elif schema["type"] == "enum":
            symbols = schema["symbols"]
            if value not in symbols:
                raise _refused(path, f"one of {', '.join(symbols)}")
            self.out += zigzag(symbols.index(value))
        else:
            size = int(schema["size"])
            found = _hex(value, path)
            if len(found) != size:
                raise _refused(path, f"{size} bytes in hex")
            self.out += found

    def _record(self, schema: Mapping[str, Any], space: str, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _refused(path, "an object")
        names = [each["name"] for each in schema["fields"]]
        for name in value:
            if name not in names:
                raise NotOfSchemaError(f"there is no field {_inside(path, name)}")
        for each in schema["fields"]:
            name, place = each["name"], _inside(path, each["name"])
            if name not in value and "default" not in each:
                raise NotOfSchemaError(f"{place}: is missing")
            self.write(each["type"], value.get(name, each.get("default")), place, space)

    def _union(self, branches: list[Any], value: Any, path: str, space: str) -> None:
        told: list[str] = []
        begin = len(self.out)
        for index, branch in enumerate(branches):
            try:
                self.out += zigzag(index)
                self.write(branch, value, path, space)
                return
            except NotOfSchemaError as error:
                del self.out[begin:]
                told.append(str(error).partition(": ")[2] or str(error))
        raise NotOfSchemaError(f"{path or 'the record'}: {', or '.join(told)}")


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _refused(path: str, expected: str) -> NotOfSchemaError:
    return NotOfSchemaError(f"{path or 'the record'}: must be {expected}")


def _raw(value: Any, logical: str, path: str) -> Any:
    """Return the number that a time's text stands for, anything else as it is."""
    if not isinstance(value, str) or not (logical in UNITS or logical == "date"):
        return value
    try:
        if logical == "date":
            return (date.fromisoformat(value) - EPOCH.date()) // _DAY
        time = datetime.fromisoformat(value)
        past = (time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH
    except ValueError:
        kind = "a day such as 2026-06-30" if logical == "date" else (
            "a time such as 2026-06-30T12:00:00+00:00"
        )  # fmt: skip
        raise _refused(path, f"{kind}, or a number") from None
    count, rest = divmod(past, UNITS[logical])
    if rest:
        raise _refused(path, "a time in whole milliseconds")
    return count


def zigzag(value: int) -> bytes:
    """Return a long as Avro writes it."""
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _whole(value: Any, low: int, high: int, path: str) -> bytes:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _refused(path, f"a number from {low} to {high}")
    return zigzag(value)


def _fraction(value: Any, code: str, path: str) -> bytes:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(path, "a number")
    try:
        return struct.pack(code, value)
    except OverflowError:
        raise _refused(path, "a number that its type can hold") from None


def _null(value: Any, path: str) -> bytes:
    if value is not None:
        raise _refused(path, "null")
    return b""


def _boolean(value: Any, path: str) -> bytes:
    if not isinstance(value, bool):
        raise _refused(path, "true or false")
    return bytes([value])


def _hex(value: Any, path: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise _refused(path, "bytes in hex") from None


def _bytes(value: Any, path: str) -> bytes:
    found = _hex(value, path)
    return zigzag(len(found)) + found


def _string(value: Any, path: str) -> bytes:
    if not isinstance(value, str):
        raise _refused(path, "a text")
    try:
        found = value.encode()
    except UnicodeEncodeError:
        raise _refused(path, "a text of whole characters") from None
    return zigzag(len(found)) + found


_LEAVES: Final[Mapping[str, Any]] = {
    "null": _null,
    "boolean": _boolean,
    "int": lambda value, path: _whole(value, INT_MIN, INT_MAX, path),
    "long": lambda value, path: _whole(value, _LONG_MIN, _LONG_MAX, path),
    "float": lambda value, path: _fraction(value, "<f", path),
    "double": lambda value, path: _fraction(value, "<d", path),
    "bytes": _bytes,
    "string": _string,
}

"""Walk over the bytes of one record by its schema: each leaf a part, until something breaks."""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from operators.avro.wire import INT_MAX, INT_MIN, PRIMITIVES, MalformedError, read_long

MOST_PARTS: Final = 10_000
"""Of a longer record the rest is walked over and not shown."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = {
    "timestamp-micros": timedelta(microseconds=1),
    "timestamp-millis": timedelta(milliseconds=1),
}
_EXPECTED: Final = {
    "null": "nothing",
    "boolean": "a byte, 0 or 1",
    "int": f"a number from {INT_MIN} to {INT_MAX} in at most 10 bytes",
    "long": "a number in at most 10 bytes",
    "float": "4 bytes",
    "double": "8 bytes",
    "bytes": "a length, and so many bytes",
    "string": "a length, and so many bytes of UTF-8",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `begin` to before `end`, what they are, and what they say."""

    begin: int
    end: int
    name: str
    """The field with the fields around it: ``items[2].price``."""
    kind: str
    value: Any
    """As JSON has it."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where bytes are not what they should be."""

    at: int
    why: str
    expected: str
    name: str = ""
    """The field that begins there or before, as `Part.name`."""


class _BrokenError(Exception):
    def __init__(self, at: int, why: str, expected: str, name: str) -> None:
        self.broken = Broken(at, why, expected, name)


_Put = Callable[[Any], None]
"""Puts a value where it belongs in the one around it."""


class Walk:
    """Reads one record; `parts` are what was read so far."""

    def __init__(self, data: bytes, at: int, named: "Named") -> None:
        """Begin at a place in `data`; `named` are the schema's `named_types`."""
        self.parts: list[Part] = []
        self._data, self._at, self._named = data, at, named

    def read(self, schema: Mapping[str, Any]) -> tuple[dict[str, Any], Broken | None]:
        """Return what could be read of the record, and where it broke, if it did.

        `schema` is one that `compile_record` takes.
        """
        record: dict[str, Any] = {}
        try:
            self._fields(schema, "", space_of(schema, ""), record)
        except _BrokenError as error:
            return record, error.broken
        except RecursionError:
            return record, Broken(self._at, "the schema is nested too deep", "a flatter one")
        return record, None

    def _fields(
        self, schema: Mapping[str, Any], path: str, space: str, into: dict[str, Any]
    ) -> None:
        for each in schema["fields"]:
            name = each["name"]
            place = f"{path}.{name}" if path else name
            self._type(each["type"], place, space, partial(into.__setitem__, name))

    def _type(self, schema: Any, path: str, space: str, put: _Put, logical: str = "") -> None:
        if isinstance(schema, list):
            self._union(schema, path, space, put)
        elif isinstance(schema, str):
            if schema in PRIMITIVES:
                self._leaf(schema, path, put, logical)
            else:
                full = f"{space}.{schema}" if space and "." not in schema else schema
                self._name(*self._named[full], path, put)
        else:
            kind = schema["type"]
            if kind == "array":
                items: list[Any] = []
                put(items)
                self._blocks(path, lambda place: self._type(
                    schema["items"], place, space, items.append
                ))  # fmt: skip
            elif kind == "map":
                entries: dict[str, Any] = {}
                put(entries)
                self._blocks(path, partial(self._entry, schema["values"], space, entries))
            elif kind in ("record", "enum", "fixed"):
                self._name(schema, space_of(schema, space), path, put)
            else:
                self._type(kind, path, space, put, schema.get("logicalType") or "")

    def _name(self, schema: Mapping[str, Any], space: str, path: str, put: _Put) -> None:
        if schema["type"] == "record":
            record: dict[str, Any] = {}
            put(record)
            self._fields(schema, path, space, record)
        elif schema["type"] == "enum":
            symbols = schema["symbols"]
            expected = f"an index from 0 to {len(symbols) - 1}: {', '.join(symbols)}"
            index = self._index(len(symbols), path, "enum", expected, symbols)
            put(symbols[index])
        else:
            self._bytes(int(schema["size"]), path, "fixed", f"{schema['size']} bytes", put)

    def _union(self, branches: list[Any], path: str, space: str, put: _Put) -> None:
        names = [_kind(each) for each in branches]
        expected = f"a branch from 0 to {len(names) - 1}: {', '.join(names)}"
        index = self._index(len(names), path, "branch", expected, names)
        self._type(branches[index], path, space, put)

    def _index(self, size: int, path: str, kind: str, expected: str, names: list[str]) -> int:
        begin = self._at
        index = self._long(begin, path, expected)
        if not 0 <= index < size:
            raise _BrokenError(begin, f"the index is {index}", expected, path)
        self._add(begin, path, kind, names[index])
        return index

    def _blocks(self, path: str, read: Callable[[str], None]) -> None:
        """Read an array's items, or a map's entries, each by its place."""
        done = 0
        while True:
            begin, expected = self._at, "how many there are in a block, 0 behind the last"
            count = self._long(begin, path, expected)
            if count < 0:
                count = -count
                self._long(self._at, path, "the size of a block in bytes")
            self._add(begin, path, "block", count)
            if count == 0:
                return
            for number in range(done, done + count):
                read(f"{path}[{number}]")
            done += count

    def _entry(self, values: Any, space: str, into: dict[str, Any], path: str) -> None:
        key: list[str] = []
        self._leaf("string", f"{path} key", key.append, "")
        self._type(values, path, space, partial(into.__setitem__, key[0]))

    def _leaf(self, kind: str, path: str, put: _Put, logical: str) -> None:
        begin, expected = self._at, _EXPECTED[kind]
        if kind in ("bytes", "string"):
            size = self._long(begin, path, expected)
            left = len(self._data) - self._at
            if not 0 <= size <= left:
                why = f"the length is {size:,}, and {left:,} bytes are left"
                raise _BrokenError(begin, why, expected, path)
            self._add(begin, path, "length", size)
            self._bytes(size, path, kind, expected, put)
            return
        try:
            value, self._at = PRIMITIVES[kind].read(self._data, begin)
        except (IndexError, struct.error):
            raise _BrokenError(
                len(self._data), "the data ends too early", expected, path
            ) from None
        except MalformedError as error:
            raise _BrokenError(begin, str(error), expected, path) from None
        shown = told(value, logical)
        if kind != "null":
            self._add(begin, path, logical or kind, shown)
        put(shown)

    def _bytes(self, size: int, path: str, kind: str, expected: str, put: _Put) -> None:
        begin = self._at
        found = self._data[begin : begin + size]
        if len(found) < size:
            raise _BrokenError(len(self._data), "the data ends too early", expected, path)
        told = found.hex()
        if kind == "string":
            try:
                told = found.decode()
            except UnicodeDecodeError as error:
                why = f"this is no UTF-8 ({error.reason})"
                raise _BrokenError(begin + error.start, why, expected, path) from None
        self._at += size
        self._add(begin, path, kind, told)
        put(told)

    def _long(self, begin: int, path: str, expected: str) -> int:
        try:
            value, self._at = read_long(self._data, begin)
        except IndexError:
            raise _BrokenError(
                len(self._data), "the data ends too early", expected, path
            ) from None
        except MalformedError as error:
            raise _BrokenError(begin, str(error), expected, path) from None
        return value

    def _add(self, begin: int, path: str, kind: str, value: Any) -> None:
        if len(self.parts) < MOST_PARTS:
            self.parts.append(Part(begin, self._at, path, kind, value))


Named = Mapping[str, tuple[Mapping[str, Any], str]]
"""Named types by their full names, each with the namespace inside it."""


def named_types(schema: Any) -> Named:
    """Return the named types of a schema, also those of what no value of it is read.

    Raises RecursionError for one that is nested too deep.
    """
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    _define(schema, "", found)
    return found


def _define(schema: Any, space: str, found: dict[str, tuple[Mapping[str, Any], str]]) -> None:
    if isinstance(schema, list):
        for each in schema:
            _define(each, space, found)
    elif isinstance(schema, dict):
        kind = schema["type"]
        if kind in ("record", "enum", "fixed"):
            name, space = schema["name"].rpartition(".")[2], space_of(schema, space)
            found[f"{space}.{name}".lstrip(".")] = schema, space
        inner = [kind, schema.get("items"), schema.get("values")]
        inner += [each["type"] for each in schema.get("fields", ())]
        for each in inner:
            _define(each, space, found)


def space_of(schema: Mapping[str, Any], around: str) -> str:
    """Return the namespace inside a named type."""
    name = schema["name"]
    return name.rpartition(".")[0] if "." in name else schema.get("namespace", around) or ""


def _kind(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    found = schema.get("name") or schema.get("logicalType") or schema["type"]
    return found if isinstance(found, str) else _kind(found)


def told(value: Any, logical: str) -> Any:
    """Return a leaf's value as JSON has it; one that is no time of a calendar as its number."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        if logical in UNITS:
            return (EPOCH + value * UNITS[logical]).isoformat()
        if logical == "date":
            return (EPOCH + timedelta(days=value)).date().isoformat()
    except OverflowError:
        pass
    return value

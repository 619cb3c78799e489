"""Avro's binary encoding, strictly, one record at a time: what is well-formed and why not.

Source: the Avro 1.12 specification, "Binary encoding". This decides every record that the
columnar decoder does not take. fastavro cannot: it takes negative union and enum indexes,
varints of any length and any boolean byte, which Java's and Rust's decoders refuse.

Where the specification is silent this does as Avro's Java and Rust decoders do: a varint
may be padded up to ten bytes and is cut to 64 bits, and bytes after the record are ignored.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Read = Callable[[bytes, int], tuple[Any, int]]

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


class SchemaError(ValueError):
    """A schema that is not valid Avro, or that we do not read."""


class MalformedError(ValueError):
    """Bytes that are not a record of their schema. The message holds none of them."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How one type lies in bytes.

    `read(data, at)` returns a value and the place after it: an int for `int`, `long` and
    (its index) `enum`, bytes for `bytes` and `fixed`, a list for `array`, a list of dicts with key
    and value for `map`, a dict by name for `record`, and for a `union` of several types a dict
    with the branch's number as a text. `width` is the least size in bytes, `size` a fixed one's.
    `symbols` and `default` are an enum's, `digits` a decimal's precision and scale. `null_first` is
    the order of a union of null and this; None outside of one. `parts` are what is in it: a
    record's fields, an array's items, a map's key and value, a union's branches by their numbers;
    `depth` and `leaves` are how deep they go and how many columns they would make, and `swell` is
    how many values of columns a byte of an array's or a map's may at most turn into.
    """

    kind: str
    read: Read
    width: int
    name: str = ""
    symbols: tuple[str, ...] = ()
    default: str | None = None
    logical: str | None = None
    null_first: bool | None = None
    aliases: tuple[str, ...] = ()
    size: int = 0
    digits: tuple[int, int] | None = None
    parts: tuple["Field", ...] = ()
    depth: int = 0
    leaves: int = 1
    swell: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its reader, and what the schema says besides."""

    name: str
    wire: Wire
    schema: Mapping[str, Any]


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint."""
    byte = data[at]
    if byte < 0x80:  # most are of one byte
        return (byte >> 1) ^ -(byte & 1), at + 1
    bits = shift = 0
    while True:
        byte = data[at]
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:
            bits &= 0xFFFF_FFFF_FFFF_FFFF
            return (bits >> 1) ^ -(bits & 1), at
        shift += 7
        if shift > 63:
            raise MalformedError("a number is longer than ten bytes")


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    value, at = read_long(data, at)
    if not INT_MIN <= value <= INT_MAX:
        raise MalformedError("an int does not fit 32 bits")
    return value, at


def _read_null(data: bytes, at: int) -> tuple[None, int]:
    return None, at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise MalformedError("a boolean is neither 0 nor 1")
    return data[at] == 1, at + 1


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    return struct.unpack_from("<f", data, at)[0], at + 4


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    return struct.unpack_from("<d", data, at)[0], at + 8


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_long(data, at)
    return _take(data, at, size)


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    value, at = _read_bytes(data, at)
    return value.decode(), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0:
        raise MalformedError("a length is negative")
    if size > len(data) - at:
        raise MalformedError("a length goes past the end")
    return data[at : at + size], at + size


def read_enum(symbols: int) -> Read:
    """Return the reader of an index below `symbols`."""

    def read(data: bytes, at: int) -> tuple[int, int]:
        index, at = read_long(data, at)
        if not 0 <= index < symbols:
            raise MalformedError("an enum's index is out of range")
        return index, at

    return read


def read_fixed(size: int) -> Read:
    """Return the reader of `size` bytes."""
    return lambda data, at: _take(data, at, size)


def read_union(branches: list[Wire]) -> Read:
    """Return the reader of an index and that branch's value."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = read_long(data, at)
        if not 0 <= index < len(branches):
            raise MalformedError("a union's index is out of range")
        return branches[index].read(data, at)

    return read


def read_choice(branches: Sequence[Wire]) -> Read:
    """Return the reader of an index and that branch's value, told apart by the index."""

    def read(data: bytes, at: int) -> tuple[dict[str, Any] | None, int]:
        index, at = read_long(data, at)
        if not 0 <= index < len(branches):
            raise MalformedError("a union's index is out of range")
        value, at = branches[index].read(data, at)
        return None if branches[index].kind == "null" else {str(index): value}, at

    return read


def read_record(fields: Sequence[Field]) -> Read:
    """Return the reader of a nested record."""
    parts = [(field.name, field.wire.read) for field in fields]

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        record = {}
        for name, read_part in parts:
            record[name], at = read_part(data, at)
        return record, at

    return read


def read_blocks(items: Wire) -> Read:
    """Return the reader of an array's items, or of a map's entries."""
    if not items.width:
        # A few bytes could claim 2**62 of them, and we would count them one by one.
        raise SchemaError("items of no width are not read")

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            count, at = read_long(data, at)
            if count < 0:
                count = -count
                _, at = read_long(data, at)  # the block's size in bytes
            if count == 0:
                return found, at
            for _ in range(count):  # ends at the data's end, as each item takes a byte
                value, at = items.read(data, at)
                found.append(value)

    return read


PRIMITIVES = {
    "null": Wire("null", _read_null, 0),
    "boolean": Wire("boolean", _read_boolean, 1),
    "int": Wire("int", _read_int, 1),
    "long": Wire("long", read_long, 1),
    "float": Wire("float", _read_float, 4),
    "double": Wire("double", _read_double, 8),
    "bytes": Wire("bytes", _read_bytes, 1),
    "string": Wire("string", _read_string, 1),
}


def nested(kind: str, read: Read, width: int, parts: Sequence[Field], **more: Any) -> Wire:
    """Return a type that has others in it."""
    depth = 1 + max((part.wire.depth for part in parts), default=0)
    leaves = sum(part.wire.leaves for part in parts)
    swell = max((part.wire.swell for part in parts), default=0)
    if kind in ("array", "map"):
        swell = max(swell, leaves // sum(part.wire.width for part in parts))
    more |= {"depth": depth, "leaves": leaves, "swell": swell}
    return Wire(kind, read, width, parts=tuple(parts), **more)


def nullable(wire: Wire, branches: list[Wire], null_first: bool) -> Wire:
    """Return `wire` as the other branch of a union with null."""
    return replace(wire, read=read_union(branches), width=1, null_first=null_first)

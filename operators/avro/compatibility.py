"""Compatibility: whether each record of one schema can be read as another's.

The levels are Confluent's (Schema Registry, "Schema Evolution and Compatibility"): backward, the
newer schema reads what the older one wrote; forward, the older reads what the newer wrote; full,
both. Transitive ones hold a version against all before it, the others against the last one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from polars.exceptions import PolarsError

from operators.avro.compile import Record, compile_record
from operators.avro.resolve import Column, Reader
from operators.avro.wire import SchemaError
from schemas import AvroSchema

Level = Literal[
    "none",
    "backward",
    "forward",
    "full",
    "backward_transitive",
    "forward_transitive",
    "full_transitive",
]

DEFAULT: Final[Level] = "backward_transitive"
"""A flow reads every version as the newest, and its tables' past has all of them."""


class Broken(NamedTuple):
    """Why records of version `writer` can't all be read as version `reader`."""

    writer: int
    reader: int
    why: str


def unreadable(writer: AvroSchema, reader: AvroSchema) -> list[str]:
    """Return why not each record of `writer` can be read as one of `reader`; empty if each can.

    By the rules of the decoder itself (`resolve`), for whole schemas instead of single records.
    """
    try:
        written, read = compile_record(writer), Reader(reader)
    except SchemaError as error:
        return [str(error)]
    found = [] if read.reads(written) else ["the records have different names"]
    for field in read.record.fields:
        try:
            column = Column(field, read.dtypes[field.name], written)
        except SchemaError as error:
            found.append(str(error))
        else:
            found += column.lacks
    return found


def invalid(schema: AvroSchema) -> str:
    """Return why a schema is no record that a flow can read, empty if it is one."""
    # It takes a tenth of a second to import, and no flow looks at schemas so.
    from fastavro.schema import SchemaParseException, UnknownType, parse_schema

    try:
        reader = Reader(schema)
        # What compiles is of the right shape; of names, symbols and defaults the library knows.
        parse_schema(schema, _write_hint=False)
    except (SchemaParseException, UnknownType, SchemaError) as error:
        return str(error) or type(error).__name__
    for field in reader.record.fields:
        if "default" in field.schema:
            try:
                Column(field, reader.dtypes[field.name], Record("", ()))
            except (TypeError, ValueError, OverflowError, PolarsError):
                return f"field {field.name}: its default is none of its type"
    return ""


def broken(
    versions: Mapping[int, AvroSchema],
    level: Level,
    why_not: Callable[[Any, Any], list[str]] = unreadable,
) -> list[Broken]:
    """Return what breaks a level among a record's valid versions, each held against earlier ones.

    `why_not` says of writer and reader why not each record can be read.

    With backward, {1: a, 2: b, 3: c} asks that b reads a and c reads b; with forward_transitive
    that a reads b, and a and b read c.
    """
    numbers = sorted(versions)
    kind, _, transitive = level.partition("_")
    found = []
    for at, newer in enumerate(numbers):
        for older in numbers[0 if transitive else max(at - 1, 0) : at]:
            pairs = [(older, newer)] if kind in ("backward", "full") else []
            pairs += [(newer, older)] if kind in ("forward", "full") else []
            for writer, reader in pairs:
                whys = why_not(versions[writer], versions[reader])
                found += [Broken(writer, reader, why) for why in whys]
    return found

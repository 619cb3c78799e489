"""A writer's records read by another schema: what Avro's resolution allows, and refuses."""

import io
from typing import Any

import fastavro
import polars as pl
import pytest

from operators.avro import Decoder
from operators.avro.compile import compile_record
from operators.avro.wire import SchemaError


def record(*fields: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    made = [
        {"name": name, "type": kind} | (rest[0] if rest else {}) for name, kind, *rest in fields
    ]
    return {"type": "record", "name": "R", "namespace": "n", "fields": made} | more


def read(writer: Any, reader: Any, *records: dict[str, Any]) -> Any:
    parsed = fastavro.parse_schema(writer)
    values = []
    for one in records:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, one)
        values.append(b"\0\0\0\0\1" + out.getvalue())
    return Decoder(reader, lambda _: writer).decode(values, [None] * len(values))


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)} | more


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


@pytest.mark.parametrize(
    ("written", "kind", "value", "expected"),
    [
        ("int", "long", 7, 7),
        ("int", "double", 7, 7.0),
        ("long", "double", 7, 7.0),
        ("float", "double", 0.5, 0.5),
        ("long", ["null", "long"], 7, 7),
        (["null", "int"], ["null", "long"], None, None),
        (["int", "null"], ["null", "long"], 7, 7),
        (enum("A", "B"), enum("B", "A"), "A", "A"),
        (enum("A", "B"), enum("A", "Z", default="Z"), "B", "Z"),
    ],
)
def test_values_are_promoted_as_avro_says(
    written: Any, kind: Any, value: Any, expected: Any
) -> None:
    frame = read(record(("f", written)), record(("f", kind)), {"f": value}).frame
    assert frame["f"].to_list() == [expected]


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        ("long", "int", 7),
        ("string", "long", "7"),
        ("double", "float", 0.5),
        (MILLIS, MICROS, 7),
        (["null", "string", "int"], ["null", "boolean"], "a"),
        (enum("A"), "string", "A"),
        ({"type": "array", "items": "int"}, "int", []),
    ],
)
def test_incompatible_schemas_refuse_their_records(written: Any, kind: Any, value: Any) -> None:
    decoded = read(record(("f", written)), record(("f", kind)), {"f": value})
    assert [refusal.code for refusal in decoded.refusals] == ["incompatible_schema"]
    assert "field f" in decoded.refusals[0].message


def test_single_records_that_the_reader_cannot_hold_are_refused() -> None:
    writer = record(("f", ["null", "int"]), ("e", ["null", enum("A", "B")]))
    reader = record(("f", "int"), ("e", ["null", enum("A")]))
    decoded = read(
        writer,
        reader,
        {"f": 1, "e": "A"},
        {"f": None, "e": "A"},
        {"f": 3, "e": "B"},
        {"f": 4, "e": None},
    )
    assert decoded.rows.tolist() == [0, 3]
    assert decoded.frame.rows() == [(1, "A"), (4, None)]
    assert [(r.row, r.code) for r in decoded.refusals] == [
        (1, "incompatible_schema"),
        (2, "incompatible_schema"),
    ]


def test_fields_are_matched_by_name_alias_and_default() -> None:
    writer = record(("gone", {"type": "map", "values": "int"}), ("old", "string"), ("b", "int"))
    reader = record(
        ("b", "int"),
        ("new", "string", {"aliases": ["old"]}),
        ("at", MICROS, {"default": 5}),
        ("n", ["null", "string"], {"default": None}),
    )
    decoded = read(writer, reader, {"gone": {"k": 1}, "old": "x", "b": 2})
    assert decoded.frame.with_columns(pl.col("at").to_physical()).rows() == [(2, "x", 5, None)]


def test_types_that_bulk_cannot_decode_are_passed_over() -> None:
    """pyruhvro panics on bytes and fixed: such records are all read strictly."""
    inner = record(("x", "bytes"), name="Inner")
    writer = record(
        ("a", {"type": "array", "items": inner}),
        ("again", ["null", "string", "Inner"]),
        ("fixed", {"type": "fixed", "name": "F", "size": 3}),
        ("f", "string"),
    )
    one = {"a": [{"x": b"1"}, {"x": b""}], "again": "s", "fixed": b"abc", "f": "kept"}
    decoded = read(writer, record(("f", "string")), one, one | {"again": {"x": b""}})
    assert decoded.frame["f"].to_list() == ["kept", "kept"]


def test_array_blocks_with_sizes_and_huge_counts() -> None:
    writer = record(("a", {"type": "array", "items": "int"}), ("f", "int"))
    decoder = Decoder(record(("f", "int")), lambda _: writer)
    sized = b"\x03\x04\x02\x04\x00\x06"  # -2 items in 2 bytes, end, 3
    bomb = b"\xfe" + b"\xff" * 8 + b"\x01\x02\x02"
    decoded = decoder.decode([b"\0\0\0\0\1" + sized, b"\0\0\0\0\1" + bomb], [None, None])
    assert decoded.frame["f"].to_list() == [3]
    assert [refusal.code for refusal in decoded.refusals] == ["malformed"]


@pytest.mark.parametrize(
    "schema",
    [
        "string",
        {"type": "string"},
        {"type": "record", "name": "R"},
        record(("f", "Unknown")),
        record(("f", "int"), ("f", "int")),
        record(("next", ["null", "R"])),  # a few bytes could nest without end
        record(("a", {"type": "array", "items": "null"})),  # or claim 2**62 items
    ],
)
def test_schemas_that_are_not_read(schema: Any) -> None:
    with pytest.raises(SchemaError):
        compile_record(schema)
    refusals = (
        Decoder(record(("f", "int")), lambda _: schema)
        .decode([b"\0\0\0\0\1a"], [None])
        .refusals
    )
    assert [refusal.code for refusal in refusals] == ["incompatible_schema"]


def test_records_of_another_name_are_refused() -> None:
    reader = record(("f", "int"))
    other = record(("f", "int"), name="Refund")
    assert read(other, reader, {"f": 1}).refusals[0].code == "incompatible_schema"
    assert not read(other, reader | {"aliases": ["Refund"]}, {"f": 1}).refusals


def test_a_reader_without_columns_for_its_types_is_an_error() -> None:
    with pytest.raises(SchemaError):
        Decoder(record(("f", "null")), lambda _: {})

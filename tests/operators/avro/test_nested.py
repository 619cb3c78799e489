"""Nested types: what any bytes are read as, by columns, strictly and by fastavro."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from operators.avro import Decoded, Decoder, columns_of
from operators.avro.compatibility import invalid, unreadable
from operators.avro.compile import compile_record
from operators.avro.decode import _Plan
from operators.avro.kinds import arrow_of
from operators.avro.nested import NestedBulk
from operators.avro.wire import SchemaError
from operators.connectors.delta.layout import missing_columns
from operators.records.tables import STAMPS, Table
from tests.examples import examples
from tests.operators.avro import nested
from tests.operators.avro.payments import framed
from tests.operators.avro.test_readers import fine

HEAD = b"\0\0\0\0\1"


@examples(2)
@given(st.data())
def test_the_readers_agree_on_any_nested_schema_and_any_bytes(data: st.DataObject) -> None:
    schema = data.draw(nested.schemas())
    bodies = data.draw(st.lists(nested.bodies(schema), min_size=1, max_size=12))
    record = compile_record(schema)
    strict = [fine(record, body) for body in bodies]
    decoded = Decoder(schema, lambda _: schema).decode(
        [HEAD + body for body in bodies], [None] * len(bodies)
    )
    frame, rows = decoded.in_order()
    assert rows.tolist() == [row for row, good in enumerate(strict) if good]
    assert {refusal.code for refusal in decoded.refusals} <= {"malformed", "bad_utf8"}
    made = dict(zip(rows.tolist(), frame.to_dicts(), strict=True))
    for row, body in enumerate(bodies):
        expected, canonical = nested.read(schema, body)
        assert row in made or not canonical
        if canonical:
            assert repr(nested.chosen(made[row], schema)) == repr(
                nested.column(expected, schema)
            )
    try:
        bulk = NestedBulk(record.fields)
    except ValueError:
        return
    for skip in (0, 5, 17):
        assert [len(bulk.decode(*framed([body], skip))[1]) == 1 for body in bodies] == strict
    columns, taken = bulk.decode(*framed([body for body in bodies if fine(record, body)]))
    assert len(taken) == sum(strict)
    values = [record.read(body) for body in bodies if fine(record, body)]
    for number, (field, column) in enumerate(zip(record.fields, columns, strict=True)):
        alone = pa.array([value[number] for value in values], arrow_of(field.wire))
        found = column.to_list() if hasattr(column, "to_list") else column.to_pylist()
        assert repr(found) == repr(alone.to_pylist())


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def record(*fields: tuple[Any, ...], name: str = "R") -> dict[str, Any]:
    made = [{"name": n, "type": kind} | (rest[0] if rest else {}) for n, kind, *rest in fields]
    return {"type": "record", "name": name, "fields": made}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def read(writer: Any, reader: Any, *records: Any, bodies: Sequence[bytes] = ()) -> Decoded:
    """Decode by columns, and see that the strict reader alone says the same."""
    values = [HEAD + each for each in (*(nested.write(writer, r) for r in records), *bodies)]
    decoder = Decoder(reader, lambda _: writer)
    decoded = decoder.decode(values, [None] * len(values))
    plan = decoder._plans[1]
    if isinstance(plan, _Plan):
        plan._bulk = None
        alone = decoder.decode(values, [None] * len(values))
        assert alone.in_order()[0].equals(decoded.in_order()[0])
        assert alone.refusals == decoded.refusals
    assert decoded.frame.schema == pl.Schema(columns_of(reader))
    return decoded


PRICE = logical("bytes", "decimal", precision=38, scale=6)
LINE = record(
    ("price", ["null", PRICE]), ("at", logical("long", "timestamp-millis")), name="Line"
)
ALL = record(
    ("date", logical("int", "date")),
    ("time_ms", logical("int", "time-millis")),
    ("time_us", logical("long", "time-micros")),
    ("at_ms", logical("long", "timestamp-millis")),
    ("at_us", logical("long", "timestamp-micros")),
    ("at_ns", logical("long", "timestamp-nanos")),
    ("local_ms", logical("long", "local-timestamp-millis")),
    ("local_us", ["null", logical("long", "local-timestamp-micros")]),
    ("id", logical("string", "uuid")),
    ("short", logical("bytes", "decimal", precision=10, scale=2)),
    ("of_8", fixed("D8", 8, logicalType="decimal", precision=18, scale=4)),
    ("lasts", fixed("Duration", 12, logicalType="duration")),
    ("guid", ["null", fixed("Guid", 16, logicalType="uuid")]),
    ("lines", {"type": "array", "items": LINE}),
    ("tags", {"type": "map", "values": ["null", "float"]}),
    ("raw", fixed("Raw", 3)),
    ("either", ["null", "string", "long", "Line"]),
)
ONE = {
    "date": date(1969, 12, 31),
    "time_ms": time(23, 59, 59, 999_000),
    "time_us": time(0, 0, 0, 7),
    "at_ms": datetime(2026, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC),
    "at_us": datetime(1960, 1, 1, 0, 0, 0, 7, tzinfo=UTC),
    "at_ns": 123_456_789,
    "local_ms": datetime(2026, 1, 1),  # noqa: DTZ001 # a local one
    "local_us": datetime(2026, 1, 1, 0, 0, 0, 3),  # noqa: DTZ001 # a local one
    "id": UUID(int=5),
    "short": Decimal("-1.25"),
    "of_8": Decimal("-12345.6789"),
    "lasts": b"\1\0\0\0\xff\xff\xff\xff\0\0\0\1",
    "guid": UUID(int=77).bytes,
    "lines": [
        {"price": Decimal("-0.000001"), "at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"price": None, "at": datetime(1960, 1, 1, tzinfo=UTC)},
    ],
    "tags": {"a": 0.5, "b": None},
    "raw": b"abc",
    "either": 5,
}
ROW = ONE | {
    "time_ms": 86_399_999_000,
    "time_us": 7,
    "id": str(UUID(int=5)),
    "lasts": {"months": 1, "days": 2**32 - 1, "millis": 2**24},
    "guid": str(UUID(int=77)),
    "tags": [{"key": "a", "value": 0.5}, {"key": "b", "value": None}],
    "either": {"string": None, "long": 5, "Line": None},
}


def test_each_type_is_a_column_that_a_table_keeps(tmp_path: Path) -> None:
    two = ONE | {"local_us": None, "guid": None, "lines": [], "tags": {}, "either": None}
    frame, _ = read(ALL, ALL, ONE, two).in_order()
    assert frame.row(0, named=True) == ROW
    empty = {"local_us": None, "guid": None, "lines": [], "tags": [], "either": None}
    assert frame.row(1, named=True) == ROW | empty
    table = Table("silver/all", dict(frame.schema))
    stamped = frame.with_columns(pl.lit(None, kind).alias(n) for n, kind in STAMPS.items())
    write_deltalake(tmp_path, stamped.to_arrow(compat_level=pl.CompatLevel.oldest()))
    handle = DeltaTable(tmp_path)
    assert missing_columns(handle, table) == []
    back = pl.read_delta(str(tmp_path)).select(frame.columns)
    assert back.schema == frame.schema
    assert back.equals(frame)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\x02\x00", Decimal("0.00")),
        (b"\x04\xff\x85", Decimal("-1.23")),
        (b"\x0a\x02\x54\x0b\xe3\xff", Decimal("99999999.99")),
        (b"\x0a\x02\x54\x0b\xe4\x00", None),  # 10^10: a digit too many
        (b"\x0a\xfd\xab\xf4\x1c\x01", Decimal("-99999999.99")),
        (b"\x0a\xfd\xab\xf4\x1c\x00", None),
        (b"\x22" + bytes(16) + b"\x05", Decimal("0.05")),  # longer than 128 bits, and small
        (b"\x22" + b"\xff" * 16 + b"\xfb", Decimal("-0.05")),
        (b"\x22\x01" + bytes(16), None),  # 2^128
        (b"\x00", None),  # no digit is no number: fastavro reads 0, Java refuses
    ],
)
def test_a_decimal_is_its_number_or_refused(body: bytes, value: Decimal | None) -> None:
    schema = record(("f", logical("bytes", "decimal", precision=10, scale=2)))
    decoded = read(schema, schema, bodies=[body, b"\x02\x01"])
    good = [] if value is None else [value]
    assert decoded.in_order()[0]["f"].to_list() == [*good, Decimal("0.01")]
    assert [r.code for r in decoded.refusals] == ["incompatible_schema"] * (value is None)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (logical("bytes", "decimal", precision=39, scale=2), pl.Binary()),
        (logical("bytes", "decimal", precision=10**9), pl.Binary()),
        (logical("bytes", "decimal", precision=2, scale=3), pl.Binary()),
        (logical("bytes", "decimal", precision="2"), pl.Binary()),
        (logical("bytes", "decimal"), pl.Binary()),
        (fixed("F", 1, logicalType="decimal", precision=3), pl.Binary()),
        (fixed("F", 1, logicalType="decimal", precision=2), pl.Decimal(2, 0)),
        (fixed("F", 3, logicalType="duration"), pl.Binary()),
        (logical("string", "decimal", precision=2), pl.String()),
        (logical("int", "timestamp-millis"), pl.Int32()),
        (logical("long", "of our own"), pl.Int64()),
    ],
)
def test_a_logical_type_that_is_none_is_left_as_it_lies(kind: Any, column: Any) -> None:
    assert columns_of(record(("f", kind))) == {"f": column}


INNER = record(("a", "int"), ("old", "string"), name="Inner")
WIDER = record(
    ("new", "string", {"aliases": ["old"]}),
    ("a", ["null", "long"]),
    ("more", {"type": "array", "items": "int"}, {"default": [1]}),
    ("m", {"type": "map", "values": "double"}, {"default": {"k": 2}}),
    ("b", "bytes", {"default": "\u00ff"}),
    ("d", ["null", PRICE], {"default": None}),
    ("r", record(("x", "int", {"default": 7}), name="X"), {"default": {}}),
    ("u", ["string", "int"], {"default": "s"}),
    name="Inner",
)
WIDE = {
    "new": "o", "a": 1, "more": [1], "m": [{"key": "k", "value": 2.0}], "b": b"\xff", "d": None,
    "r": {"x": 7}, "u": {"string": "s", "int": None},
}  # fmt: skip


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)} | more


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    ("written", "kind", "value", "expected"),
    [
        (INNER, WIDER, {"a": 1, "old": "o"}, WIDE),
        (array(INNER), array(WIDER), [{"a": 1, "old": "o"}], [WIDE]),
        (["null", INNER], [WIDER, "null"], None, None),
        (array("int"), array(["null", "double"]), [1, 2], [1.0, 2.0]),
        (array(enum("A", "B")), array(enum("B", "Z", default="Z")), ["A", "B"], ["Z", "B"]),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, {"k": 1},
         [{"key": "k", "value": 1}]),
        ("string", "bytes", "é", "é".encode()),
        ("bytes", "string", "é".encode(), "é"),
        ("int", ["null", "string", "long"], 5, {"string": None, "long": 5}),
        (["long", "string"], ["null", "string", "long"], 5, {"string": None, "long": 5}),
        (["string", "long", "null"], ["null", "string", "long"], None, None),
        ("int", logical("int", "date"), 1, date(1970, 1, 2)),
    ],
)  # fmt: skip
def test_what_is_inside_is_resolved_as_avro_says(
    written: Any, kind: Any, value: Any, expected: Any
) -> None:
    decoded = read(record(("f", written)), record(("f", kind)), {"f": value})
    assert decoded.refusals == []
    assert decoded.frame.to_dicts() == [{"f": expected}]
    assert unreadable(record(("f", written)), record(("f", kind))) == []


@pytest.mark.parametrize(
    ("written", "kind", "values", "why"),
    [
        (array("string"), array("int"), [["a"]], "field f[]: written as string, read as int"),
        (INNER, record(("n", "int"), name="Inner"), [{"a": 1, "old": "o"}],
         "field f.n: not written, and has no default"),
        (INNER, record(("a", "int"), name="Other"), [{"a": 1, "old": "o"}],
         "field f: written as Inner, read as Other"),
        (fixed("F", 4), fixed("F", 3), [b"abcd"], "written as 4 bytes, read as 3"),
        (PRICE, logical("bytes", "decimal", precision=38, scale=2), [Decimal(1)],
         "written as decimal(38, 6), read as decimal(38, 2)"),
        (["string", "long"], "string", ["a"], "written as union, read as string"),
        (["string", "float"], ["boolean", "int"], ["a"],
         "written as string, float, read as boolean, int"),
        (["int", "long"], ["string", "long"], [1], "two written types are read as long"),
        (array(logical("long", "timestamp-millis")), array(logical("long", "timestamp-micros")),
         [[]], "field f[]: written as timestamp-millis, read as timestamp-micros"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_is_refused_with_the_place(
    written: Any, kind: Any, values: list[Any], why: str
) -> None:
    decoded = read(record(("f", written)), record(("f", kind)), *({"f": v} for v in values))
    assert {r.code for r in decoded.refusals} == {"incompatible_schema"}
    assert all(why in r.message for r in decoded.refusals)
    assert any(why in each for each in unreadable(record(("f", written)), record(("f", kind))))


@pytest.mark.parametrize(
    ("written", "kind", "good", "bad", "why"),
    [
        (array(["null", "int"]), array("int"), [1], [1, None], "written as null"),
        (array(enum("A", "B")), array(enum("A")), ["A", "A"], ["A", "B"], "written as B"),
        (array("bytes"), array("string"), [b"a"], [b"\xff"], ""),
        (["null", array("int")], array("int"), [], None, "written as null"),
        (["null", "string", "boolean"], ["null", "string", "int"], "a", True,
         "may be written as boolean, which is not read"),
    ],
)  # fmt: skip
def test_single_records_that_the_reader_cannot_hold_inside_are_refused(
    written: Any, kind: Any, good: Any, bad: Any, why: str
) -> None:
    writer, reader = record(("f", written)), record(("f", kind))
    decoded = read(writer, reader, {"f": good}, {"f": bad}, {"f": good})
    assert decoded.rows.tolist() == [0, 2]
    assert [(r.row, r.code) for r in decoded.refusals] == [(1, "incompatible_schema")]
    assert bool(unreadable(writer, reader)) == bool(why)
    assert all(why in each for each in unreadable(writer, reader))


def test_a_time_in_milliseconds_past_what_microseconds_hold_is_refused() -> None:
    schema = record(("at", logical("long", "timestamp-millis")))
    decoded = read(schema, schema, {"at": 2**62}, {"at": 5})
    assert decoded.rows.tolist() == [1]
    assert [r.code for r in decoded.refusals] == ["incompatible_schema"]


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        ["null"],
        record(name="Empty"),
        array("null"),
        record(("a", "int"), ("A", "int"), name="Case"),
        [record(("a", "int"), name="x.N"), record(("a", "int"), name="y.N")],
        reduce(lambda inner, _: array(inner), range(40), "int"),
        reduce(
            lambda inner, n: record(
                ("a", inner), ("b", f"N{n - 1}" if n else "int"), name=f"N{n}"
            ),
            range(20),
            "int",
        ),
    ],
)
def test_what_is_no_column_is_refused_and_passed_over_where_it_is_not_read(kind: Any) -> None:
    schema = record(("f", kind), ("g", "int", {"default": 0}))
    with pytest.raises(SchemaError):
        columns_of(schema)
    assert invalid(schema)


def test_a_bad_record_of_many_costs_its_neighbours_nothing_but_time() -> None:
    schema = record(("f", array("string")), ("g", fixed("G", 4)))
    bodies = [nested.write(schema, {"f": [str(n)], "g": b"abcd"}) for n in range(2_000)]
    for row in range(0, 2_000, 301):
        bodies[row] = bodies[row][:-1]
    decoded = read(schema, schema, bodies=bodies)
    assert [r.row for r in decoded.refusals] == list(range(0, 2_000, 301))
    assert decoded.in_order()[0]["f"].to_list() == [[str(row)] for row in sorted(decoded.rows)]

"""Nested types: what any bytes are read as, by columns, strictly and by fastavro."""

import json
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

from operators.avro import Decoder, columns_of, values_of_fields
from operators.avro.compatibility import invalid
from operators.avro.compile import Record, compile_record
from operators.avro.kinds import arrow_of
from operators.avro.nested import NestedBulk
from operators.avro.scan import well_formed
from operators.avro.utf8 import bad_texts
from operators.avro.wire import SchemaError
from operators.connectors.delta.layout import missing_columns
from operators.records.tables import STAMPS, Table
from tests.examples import examples
from tests.operators.avro import nested
from tests.operators.avro.nested import (
    HEAD,
    array,
    fixed,
    logical,
    malformed,
    noted,
    read,
    record,
)
from tests.operators.avro.payments import framed
from tests.operators.avro.test_readers import fine


@examples(1)
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
        expected, canonical = nested.opinion(schema, body)
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
    as_bytes = compile_record(json.loads(json.dumps(schema).replace('"string"', '"bytes"')))
    payloads, _ = framed(bodies)
    wires = [field.wire for field in record.fields]
    scanned = well_formed(payloads.data, payloads.starts, payloads.ends, wires)
    for body, found, good in zip(bodies, scanned.tolist(), strict, strict=True):
        assert found or not good
        assert not found or malformed(as_bytes, body) is None
    columns, taken = bulk.decode(*framed([body for body in bodies if fine(record, body)]))
    assert len(taken) == sum(strict)
    values = [record.read(body) for body in bodies if fine(record, body)]
    for number, (field, column) in enumerate(zip(record.fields, columns, strict=True)):
        alone = pa.array([value[number] for value in values], arrow_of(field.wire))
        found = column.to_list() if hasattr(column, "to_list") else column.to_pylist()
        assert repr(found) == repr(alone.to_pylist())


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


def test_an_event_of_a_case_has_a_value_for_each_type() -> None:
    found = values_of_fields(ALL)
    frame = pl.DataFrame([found], schema=columns_of(ALL))
    assert frame.row(0, named=True) == found
    assert {n for n, value in found.items() if value is None} == {"local_us", "guid", "either"}
    assert found["lines"] == found["tags"] == []
    assert found["short"] == Decimal("0.00")
    assert values_of_fields(record(("e", "int", {"default": 3}))) == {"e": 3}


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


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        ["null"],
        record(name="Empty"),
        array("null"),
        array(["null", record(*((f"f{n}", "int") for n in range(33)), name="Wide")]),
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
def test_what_is_no_column_is_refused_with_a_reason(kind: Any) -> None:
    schema = record(("f", kind), ("g", "int", {"default": 0}))
    with pytest.raises(SchemaError):
        columns_of(schema)
    assert invalid(schema)


def test_what_is_no_column_is_passed_over_where_it_is_not_read() -> None:
    wide = record(*((f"f{n}", "int") for n in range(33)), name="Wide")
    writer = record(("f", array(["null", wide])), ("none", "null"), ("g", "int"))
    bomb = b"\xc0\x9a\x0c" + bytes(100_000) + b"\x00\x0e"  # nulls of 33 fields each
    decoded = read(
        writer, record(("g", "int")), {"f": [None], "none": None, "g": 3}, bodies=[bomb]
    )
    assert decoded.in_order()[0]["g"].to_list() == [3, 7]


def test_a_bad_record_of_many_costs_its_neighbours_nothing_but_time() -> None:
    schema = record(("f", array("string")), ("g", fixed("G", 4)))
    texts = [[str(n)] for n in range(2_000)]
    texts[7] = ["a"] * 1_000  # more than the scan follows
    bodies = [nested.write(schema, {"f": text, "g": b"abcd"}) for text in texts]
    for row in range(0, 2_000, 301):
        bodies[row] = bodies[row][:-1]
    bodies[8] = bodies[8].replace(b"8", b"\xff")
    decoded = read(schema, schema, bodies=bodies)
    refused = dict.fromkeys(range(0, 2000, 301), "malformed") | {8: "bad_utf8"}
    assert {r.row: r.code for r in decoded.refusals} == refused
    assert decoded.in_order()[0]["f"].to_list() == [texts[row] for row in sorted(decoded.rows)]


def test_only_bad_records_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many whose arrays are long; one that is longer than all others is read so as well."""
    schema = record(("f", array("string")), ("g", array(array("int"))), ("e", STATE))
    longest = {"f": ["a"] * 400, "g": [], "e": "B"}
    rows = [{"f": [str(n)] * 300, "g": [[n], []], "e": "A"} for n in range(200)] + [longest]
    bodies = [nested.write(schema, each) for each in rows]
    bodies[3] = bodies[3][:-1]
    bodies[5] = bodies[5].replace(b"\x025", b"\x02\xff", 1)
    bodies[7] = bodies[7][:-1] + b"\x04"  # no symbol
    bodies[9] = b"\xfe\xff\xff\xff\x0f" + bodies[9]
    strictly: list[bytes] = []
    monkeypatch.setattr(Record, "read", noted(Record.read, strictly))
    for _ in range(2):  # bad ones come again
        strictly.clear()
        decoded = Decoder(schema, lambda _: schema).decode(
            [HEAD + body for body in bodies], [None] * len(bodies)
        )
        assert [each.row for each in decoded.refusals] == [3, 5, 7, 9]
        assert strictly == [bodies[row] for row in (3, 5, 7, 9, 200)]
    assert decoded.in_order()[0]["f"].to_list()[-1] == longest["f"]


STATE = {"type": "enum", "name": "State", "symbols": ["A", "B"]}


def test_texts_that_are_no_utf8_are_found_among_many() -> None:
    texts = [b"a", "ä".encode(), b"", b"\xe2\x82", "\U0001f600".encode(), b"\xed\xa0\x80"] * 700
    texts[4_000] = b"\xff"
    strings = pa.array(texts, pa.binary()).view(pa.string())
    bad = [
        at for at, text in enumerate(texts) if text in (b"\xe2\x82", b"\xed\xa0\x80", b"\xff")
    ]
    assert bad_texts(strings).tolist() == bad
    assert bad_texts(strings.slice(1_999, 2_100)).tolist() == [
        at - 1_999 for at in bad if 1_999 <= at < 4_099
    ]
    assert bad_texts(strings.slice(0, 3)).tolist() == []

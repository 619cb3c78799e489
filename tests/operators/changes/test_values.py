"""JSON values as a schema's types have them, and which are none."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from operators.avro.compile import compile_record
from operators.changes.values import Objects

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROS = int(NOON.timestamp()) * 1_000_000


def logical(kind: str, name: str, **more: int) -> dict:
    return {"type": kind, "logicalType": name, **more}


ENUM = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
DECIMAL = logical("bytes", "decimal", precision=5, scale=2)


def read(kind, *values):
    fields = [{"name": "x", "type": ["null", kind], "default": None}]
    objects = Objects(compile_record({"type": "record", "name": "R", "fields": fields}))
    frame, bad = objects.read([{"x": value} for value in values])
    assert dict(frame.schema) == objects.dtypes
    return frame["x"].to_list(), bad


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "a", "a"),
        (ENUM, "B", "B"),
        ("boolean", True, True),
        ("int", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("double", 1, 1.0),
        ("float", 0.5, 0.5),
        (logical("long", "timestamp-micros"), MICROS, NOON),
        (logical("long", "timestamp-millis"), MICROS // 1000, NOON),
        (logical("long", "timestamp-micros"), "2026-03-01T13:00:00+01:00", NOON),
        (logical("long", "timestamp-millis"), "2026-03-01T12:00:00", NOON),
        (logical("int", "date"), 0, date(1970, 1, 1)),
        (logical("int", "date"), "2026-03-01", date(2026, 3, 1)),
        (DECIMAL, "12.50", Decimal("12.50")),
        (DECIMAL, 12, Decimal(12)),
    ],
)
def test_a_value_is_what_its_type_makes_of_it(kind, value, expected):
    # Beside what is none of it, so that each is looked at by itself too.
    assert read(kind, value, None) == ([expected, None], {})
    assert read(kind, [], value)[0] == [None, expected]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("string", [1, True, {}, []]),
        (ENUM, ["C", 0]),
        ("boolean", [0, "true"]),
        ("int", [2**31, 1.0, True, "1"]),
        ("long", [2**63, -(2**63) - 1, False]),
        ("double", [True, "1"]),
        (logical("long", "timestamp-micros"), [2**62, "soon", "2026-13-01T00:00:00Z", 1.5]),
        (logical("int", "date"), [2**31, "2026-03-01T12:00:00", "1.3.2026"]),
        (DECIMAL, ["12.505", "1234.00", "NaN", "Infinity", "ten", 12.5, "1e99"]),
        ("bytes", ["00"]),
        (logical("int", "time-millis"), [0]),
    ],
)
def test_what_is_none_of_its_type_is_told_by_its_row_and_shows_no_value(kind, values):
    found, bad = read(kind, *values)
    assert found == [None] * len(values)
    assert bad.keys() == set(range(len(values)))
    assert {text.partition(":")[0] for text in bad.values()} == {"field x"}
    assert not any(str(value) in text for value, text in zip(values, bad.values(), strict=True)
                   if len(str(value)) > 3)  # fmt: skip

"""What is inside of a nested type read by another schema: as Avro says, or refused."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.avro.compatibility import invalid, unreadable
from operators.avro.nesting import PROMOTIONS
from tests.operators.avro.nested import array, fixed, logical, read, record

PRICE = logical("bytes", "decimal", precision=38, scale=6)
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
        (["int", "null", "long"], ["null", "double"], 5, 5.0),
        (["null", "int", "long"], ["null", "double"], None, None),
        (["string", "bytes"], "string", "é".encode(), "é"),
        ([array("int"), array("long")][:1], array("double"), [1, 2], [1.0, 2.0]),
        ([INNER], WIDER, {"a": 1, "old": "o"}, WIDE),
        (array(["int", "float"]), array("double"), [1, 0.5], [1.0, 0.5]),
        ("int", logical("int", "date"), 1, date(1970, 1, 2)),
        ("null", ["string", "null"], None, None),
        ("null", ["null", PRICE, INNER], None, None),
        (record(("x", "null"), ("y", "int"), name="X"),
         record(("x", [array("int"), "null"]), ("y", "long"), name="X"), {"x": None, "y": 1},
         {"x": None, "y": 1}),
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
        (["string", "long"], "boolean", ["a"], "written as string, long, read as boolean"),
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
        (["boolean", "string", "null"], ["string", "null"], "a", True,
         "may be written as boolean, which is not read"),
        (["null", "string", "bytes"], "string", b"a", None, "written as null"),
        (["string", "bytes"], "string", "a", b"\xff", ""),
        (array([enum("A", "B")]), array(enum("A")), ["A"], ["A", "B"], "written as B"),
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
    ("kind", "default"),
    [
        (array("int"), ["x"]),
        (array("int"), {"a": 1}),
        (INNER, {"a": 1}),
        (INNER, 5),
        (fixed("F", 2), "abc"),
        (["null", array("int")], [2**40]),
        (logical("bytes", "decimal", precision=2, scale=0), "\u0001\u0000"),
        ("bytes", "\u0100"),
    ],
)
def test_a_default_that_is_none_of_its_type_is_found(kind: Any, default: Any) -> None:
    assert "efault" in invalid(record(("f", kind, {"default": default})))


def test_all_that_a_field_lacks_is_told() -> None:
    written = record(("f", array(["null", enum("A", "B")])))
    assert unreadable(written, record(("f", array(enum("A"))))) == [
        "field f[]: may be written as null, read as never null",
        "field f[]: written as B, of which the reader knows nothing, and it has no default symbol",
    ]


NUMBERS = ("int", "long", "float", "double")


@given(
    st.permutations(["null", *NUMBERS, "string", "bytes", "boolean"]),
    st.integers(1, 8),
    st.sampled_from(["long", "float", "double", "string", "bytes"]),
    st.booleans(),
    st.lists(st.integers(0, 7), min_size=1, max_size=9),
    st.booleans(),
)
def test_of_a_union_that_is_read_as_one_type_each_records_branch_decides(
    branches: list[str], size: int, kind: str, nullable: bool, picked: list[int], inside: bool
) -> None:
    """Whatever stands beside it, by columns and strictly alike, at the top and inside."""
    some = branches[:size]
    values = {
        "null": None, "int": -3, "long": 2**40, "float": 0.5, "double": 0.25, "string": "é",
        "bytes": "ü".encode(), "boolean": True,
    }  # fmt: skip
    made = [some[each % size] for each in picked]
    read_as: Any = ["null", kind] if nullable else kind
    written, reader = (array(some), array(read_as)) if inside else (some, read_as)
    # As fastavro is told which branch it is to write.
    told = [(name, values[name]) if name != "null" else None for name in made]
    records = [{"f": [each]} if inside else {"f": each} for each in told]
    writer, schema = record(("f", written)), record(("f", reader))
    decoded = read(writer, schema, *records)
    fits = {"null"} if nullable else set()
    fits |= PROMOTIONS[kind]
    good = [row for row, name in enumerate(made) if name in fits]
    assert {each.code for each in decoded.refusals} <= {"incompatible_schema"}
    if not fits & set(some) - {"null"}:
        assert decoded.rows.tolist() == []
        return
    assert decoded.rows.tolist() == good
    got = decoded.frame["f"].to_list()
    expected = [values[made[row]] for row in good]
    for one, value in zip((each[0] if inside else each for each in got), expected, strict=True):
        if isinstance(value, str) and kind == "bytes":
            value = value.encode()
        if isinstance(value, bytes) and kind == "string":
            value = value.decode()
        assert one == value
    assert bool(unreadable(writer, schema)) == bool(set(some) - fits)

"""JSON records against a reference: Python's own JSON reader and another validator's verdict."""

import json
from datetime import UTC, date, datetime
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.json_schema import (
    ByField,
    ByHeader,
    ByRegistry,
    JsonDecoder,
    Newest,
    Version,
    columns_of,
    of_avro,
)

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-c]*$"},
        "b": {"type": "integer", "minimum": -2, "maximum": 2**70},
        "c": {"type": "number", "exclusiveMaximum": 5},
        "d": {"type": ["boolean", "null"]},
        "e": {"enum": ["x", "y"]},
        "f": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        "g": {"$ref": "#/$defs/g"},
        "h": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "i": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
    "additionalProperties": False,
    "$defs": {
        "g": {
            "type": "object",
            "required": ["x"],
            "properties": {"x": {"type": "number"}, "y": {"type": "string"}},
        }
    },
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([-3, 0, 1, 2**53 + 1, 2**63, 2**69, 2**71, 0.5, 1.0, -1e300])
    | st.sampled_from(["", "a", "abc", "abcd", "x", "é", '":', "a b :c", "\\u0022"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(
    st.sampled_from("abcdefghij"), VALUES, max_size=6
) | st.fixed_dictionaries(
    {"a": st.just("ab")},
    optional={
        "b": st.sampled_from([0, 1.0, 2**62, 2**69]),
        "c": st.sampled_from([1, 2.5, 2**53 + 1 - 2**54]),
        "d": st.none() | st.booleans(),
        "f": st.lists(st.integers(-5, 5), max_size=3),
        "g": st.fixed_dictionaries({"x": st.just(1)}, optional={"y": SCALARS}),
        "h": SCALARS,
        "i": st.dictionaries(st.sampled_from("xy"), st.booleans()),
    },
)


def text(value: Any, spaced: bool, twice: bool) -> bytes:
    body = json.dumps(value, ensure_ascii=spaced, separators=(", ", " : ") if spaced else None)
    if twice:
        body = '{"a": "a",' + body[1:] if len(body) > 2 else '{"a": "a", "a": "b"}'
    return body.encode()


BODIES = (
    st.builds(text, OBJECTS, st.booleans(), st.booleans())
    | st.builds(lambda v: json.dumps(v).encode(), VALUES)
    | st.builds(lambda o, n: json.dumps(o).encode()[:n], OBJECTS, st.integers(0, 20))
    | st.sampled_from([b"\xff{}", b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b"{} {}", b'{"a":NaN}',
                       b'{"a":"a","c":1e400}', b'{"a":"\\ud800"}', b"[" * 2000, b"{", b'{"a":"a",}',
                       b'{"a":"a","g":{"x":1,"x":1}}', b'{"\\u0061":"a","a":"a"}'])
)  # fmt: skip


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def refuse(_: str) -> Any:
    raise ValueError("no number of JSON")


def good(body: bytes) -> bool:
    """Judge a record as the standards do: RFC 8259 with doubles, and another validator."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=once, parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or "inf" in str(found).lower():
        return False
    if not jsonschema.Draft202012Validator(SCHEMA).is_valid(found):
        return False
    # No column has integers beyond 64 bits.
    return not ("b" in found and not -(2**63) <= found["b"] < 2**63)


VERSION = Version(1, SCHEMA, columns_of(SCHEMA), {})
DTYPES = {name: each.dtype for name, each in VERSION.columns.items()}


@given(st.lists(BODIES, max_size=12))
def test_the_verdict_is_the_references_whatever_stands_beside_a_record(
    bodies: list[bytes],
) -> None:
    found = JsonDecoder(Newest(VERSION), DTYPES).decode(bodies, [None] * len(bodies))
    expected = [row for row, body in enumerate(bodies) if body and good(body)]
    assert sorted(found.rows.tolist()) == expected
    refused = [each.row for each in found.refusals]
    assert sorted(refused + expected) == list(range(len(bodies)))
    frame, rows = found.in_order()
    for row, got in zip(rows.tolist(), frame.iter_rows(named=True), strict=True):
        record = json.loads(bodies[row])
        assert got["a"] == record["a"]
        assert got["b"] == record.get("b")
        assert got["c"] == (None if record.get("c") is None else float(record["c"]))
        assert got["f"] == record.get("f")
        for name in "hi":
            told = record.get(name)
            assert (None if got[name] is None else json.loads(got[name])) == told
        if record.get("g") is not None:
            assert got["g"]["x"] == record["g"]["x"]


def refusals(decoder: JsonDecoder, *bodies: bytes | None, **headers: Any) -> list[str]:
    given = [[(name, value)] for name, value in headers.items()] * len(bodies) or [None] * len(
        bodies
    )
    return [f"{r.stage} {r.code}: {r.message}" for r in decoder.decode(bodies, given).refusals]


def test_a_refusal_says_what_the_schema_says_and_nothing_of_the_record() -> None:
    decoder = JsonDecoder(Newest(VERSION), DTYPES)
    assert refusals(decoder, b'{"secret": "4929"}', b'{"a": "4929", "g": {"x": "4929"}}') == [
        "contract schema_additional_properties: the record: additionalProperties false; "
        "the record: required a",
        'contract schema_max_length: a: maxLength 3; a: pattern "^[a-c]*$"; x: type "number"',
    ]
    assert refusals(decoder, b"", None, b'"4929"', b'{"4929', b'{"a":"4929","a":"a"}') == [
        "decode empty: The value is empty.",
        "decode null_value: The value is null.",
        "decode not_an_object: The value is JSON, and no object.",
        "decode malformed: The value is no JSON: unexpected end of data at 6.",
        "decode duplicate_name: An object of the value has a name twice.",
    ]
    assert refusals(decoder, b'{"a":"a","b":9223372036854775808}') == [
        "decode out_of_range: b: no column of its type can hold the value"
    ]


def test_versions_are_told_by_a_field_a_header_or_a_registry() -> None:
    second = {**SCHEMA, "required": ["a", "b"]}
    versions = {1: VERSION, 2: Version(2, second, columns_of(second), {})}
    by_field = JsonDecoder(ByField(versions, "b", "e", "x"), DTYPES)
    found = by_field.decode(
        [b'{"a":"a","b":1,"e":"x"}', b'{"a":"a","b":2,"e":"x"}', b'{"a":"a","e":"x"}',
         b'{"a":"a","b":true,"e":"x"}', b'{"a":"a","b":1,"e":"y"}', b'{"b":2,"e":"x"}'],
        [None] * 6,
    )  # fmt: skip
    assert found.rows.tolist() == [0, 1]
    assert [(r.code, r.schema_id) for r in found.refusals] == [
        ("no_version", None), ("unknown_version", None), ("other_schema", None),
        ("schema_required", "x/2"),
    ]  # fmt: skip
    by_header = JsonDecoder(ByHeader(versions, "v", "x"), DTYPES)
    found = by_header.decode(
        [b'{"a":"a"}'] * 5,
        [
            [("v", b"1")],
            [("v", b"2")],
            [("v", b"x"), ("v", b"1")],
            [("v", None)],
            [("v", b"\xff")],
        ],
    )
    assert found.rows.tolist() == [0, 2]
    assert [r.code for r in found.refusals] == [
        "schema_required",
        "no_version",
        "unknown_version",
    ]
    known = {7: SCHEMA, 8: {"type": "object"}}
    by_id = JsonDecoder(ByRegistry(versions, {1: SCHEMA, 2: second}, known.__getitem__), DTYPES)
    found = by_id.decode(
        [b'\0\0\0\0\7{"a":"a"}', b'\0\0\0\0\x08{"a":"a"}', b'\0\0\0\0\x09{"a":"a"}', b'{"a":"a"}',
         b"\0\0\0\0\7", b'{"a":"b"}'],
        [None, None, None, None, None, [("__value_schema_id", b"\0\0\0\0\7")]],
    )  # fmt: skip
    assert sorted(found.rows.tolist()) == [0, 5]
    assert [(r.row, r.code) for r in found.refusals] == [
        (1, "unknown_schema"), (2, "unknown_schema"), (3, "bad_magic"), (4, "malformed"),
    ]  # fmt: skip


def test_times_are_columns_and_those_of_no_calendar_are_refused() -> None:
    schema = {
        "properties": {
            "t": {"type": "string", "format": "date-time"},
            "d": {"type": ["string", "null"], "format": "date"},
        }
    }
    version = Version(1, schema, columns_of(schema), {})
    decoder = JsonDecoder(Newest(version), {n: c.dtype for n, c in version.columns.items()})
    bodies = [
        b'{"t":"2026-03-01t12:00:00.5+02:00","d":"2026-02-28"}', b'{"d":null}',
        b'{"t":"0000-01-01T00:00:00Z"}', b'{"t":"2026-03-01"}', b'{"d":"2026-02-29"}',
        b'{"t":"2016-12-31T23:59:60Z"}',
    ]  # fmt: skip
    found = decoder.decode(bodies, [None] * 6)
    told = found.in_order()[0]
    assert told["t"].to_list() == [
        datetime(2026, 3, 1, 10, 0, 0, 500_000, UTC), None, datetime(2017, 1, 1, tzinfo=UTC)
    ]  # fmt: skip
    assert told["d"].to_list() == [date(2026, 2, 28), None, None]
    assert [(r.row, r.code) for r in found.refusals] == [
        (2, "out_of_range"), (3, "schema_format"), (4, "schema_format"),
    ]  # fmt: skip


AVRO: dict[str, Any] = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "i", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "s", "type": ["null", "string"], "default": None},
        {
            "name": "e",
            "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]},
            "default": "B",
        },
        {"name": "m", "type": {"type": "map", "values": "double"}, "default": {}},
    ],
}


def test_plain_json_is_held_to_an_avro_schema() -> None:
    schema, columns, defaults = of_avro(AVRO)
    version = Version(1, schema, columns, defaults)
    decoder = JsonDecoder(Newest(version), {n: c.dtype for n, c in columns.items()})
    bodies = [
        b'{"i":1,"at":5,"other":[]}',
        b'{"i":2.0,"at":-1,"s":"x","e":"A","m":{"k":1}}',
        b'{"i":2147483648,"at":5}', b'{"i":1}', b'{"i":1,"at":5,"s":7}', b'{"i":1,"at":5,"e":"C"}',
        b'{"i":1,"at":5,"e":null}', b'{"i":1,"at":5,"m":{"k":"x"}}', b'{"i":true,"at":5}',
        b'{"i":1,"at":9223372036854775807}',
    ]  # fmt: skip
    found = decoder.decode(bodies, [None] * len(bodies))
    assert found.rows.tolist() == [0, 1]
    assert found.frame.drop("at").rows() == [
        (1, None, "B", []), (2, "x", "A", [{"key": "k", "value": 1.0}])
    ]  # fmt: skip
    assert found.frame["at"].to_physical().to_list() == [5_000, -1_000]
    assert np.all(np.diff([each.row for each in found.refusals]) == 1)


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ("bytes", "bytes"),
        ({"type": "fixed", "name": "f", "size": 2}, "fixed"),
        (["string", "int"], "a union of several types"),
    ],
)
def test_what_plain_json_does_not_tell_is_refused(of: Any, why: str) -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "x", "type": of}]}
    with pytest.raises(ValueError, match=f"field x: plain JSON does not tell {why}"):
        of_avro(schema)


def test_columns_are_what_properties_are_as_far_as_one_type_is_that_of_all() -> None:
    schema = {
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "b": {"type": ["integer", "number"]},
            "c": {"$ref": "#/$defs/tree"},
            "d": {"type": "array", "items": {"$ref": "#/$defs/p"}},
            "e": {"const": "x"},
            "f": True,
            "g": False,
            "h": {"type": "object", "properties": {"k": {"type": ["string", "integer"]}}},
        },
        "$defs": {
            "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}},
            "p": {"type": "object", "properties": {"q": {"type": "boolean"}}},
        },
    }
    found = {name: each.dtype for name, each in columns_of(schema).items()}
    assert found == {
        "a": pl.Int64(), "b": pl.Float64(), "c": pl.String(),
        "d": pl.List(pl.Struct({"q": pl.Boolean()})), "e": pl.String(), "f": pl.String(),
        "h": pl.String(),
    }  # fmt: skip
    with pytest.raises(ValueError, match="differ in the case"):
        columns_of({"properties": {"a": {}, "A": {}}})
    with pytest.raises(ValueError, match="no column can be called 'a b'"):
        columns_of({"properties": {"a b": {}}})

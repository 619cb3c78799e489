"""JSON records made columns: what is refused and why, versions, times, plain JSON held to Avro."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

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
from tests.operators.json_schema.reference import DTYPES, SCHEMA, VERSION


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


def test_a_batch_of_any_size_is_decoded_as_its_records_are() -> None:
    second = {**SCHEMA, "required": ["a", "b"]}
    versions = {1: VERSION, 2: Version(2, second, columns_of(second), {})}
    decoder = JsonDecoder(ByField(versions, "b", None, "x"), DTYPES)
    kinds = [b'{"a":"a","b":1}', b'{"a":"b","b":2}', b'{"a":"c","b":1,"c":0.5}']
    bodies: list[bytes | None] = [kinds[n * n % 3] for n in range(9_001)]
    bodies[77], bodies[3_999], bodies[4_000], bodies[8_000] = (
        None,
        b"{",
        b'{"b":1}',
        b'{"a":""}',
    )
    bodies[9_000] = b'{"a":"a","a":"a","b":1}'
    whole = decoder.decode(bodies, [None] * len(bodies))
    frame, rows = whole.in_order()
    alone = {
        body: decoder.decode([body], [None])
        for body in {each for each in bodies if each is not None}
    }
    bad = [77, 3_999, 4_000, 8_000, 9_000]
    assert rows.tolist() == [n for n in range(len(bodies)) if n not in bad]
    assert frame.equals(pl.concat(alone[bodies[row] or b""].frame for row in rows.tolist()))
    assert [each.row for each in whole.refusals] == bad
    for each in whole.refusals[1:]:
        assert each == alone[bodies[each.row] or b""].refusals[0].at(each.row)

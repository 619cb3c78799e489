"""The rest: fields that no version here names, kept as JSON until one does."""

import json
from base64 import b64encode
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.avro import REST, Decoder
from operators.avro.plan import Plan
from tests.examples import examples
from tests.operators.avro import nested
from tests.operators.avro.nested import HEAD, array, fixed, logical, record, write

KNOWN = record(("id", "string"))


def decoded(writer: Any, bodies: list[bytes], reader: Any = KNOWN) -> tuple[pl.DataFrame, Any]:
    """Return what is read of records, by columns and by the strict reader alike, and the drift."""
    values = [HEAD + body for body in bodies]
    decoder = Decoder(reader, lambda _: writer, [reader])
    found = decoder.decode(values, [None] * len(values))
    plan = decoder._plans[1]
    if isinstance(plan, Plan):
        plan._bulk = None
        alone = decoder.decode(values, [None] * len(values))
        assert alone.in_order()[0].equals(found.in_order()[0])
        assert alone.refusals == found.refusals
    return found.in_order()[0], found.drifted


def plain(value: Any, schema: Any) -> Any:
    """Return a value of fastavro's as the JSON has it, of a union of several as a set of one."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        if value is None:
            return None
        if len(kinds) > 1:
            return "one of"
        return plain(value, kinds[0])
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(schema, str):
        return value
    if schema["type"] == "array":
        return [plain(each, schema["items"]) for each in value]
    if schema["type"] == "map":
        return [
            {"key": key, "value": plain(each, schema["values"])} for key, each in value.items()
        ]
    if schema["type"] == "record":
        return {f["name"]: plain(value[f["name"]], f["type"]) for f in schema["fields"]}
    return value


def told(value: Any, schema: Any) -> Any:
    """Return what JSON has, to be held beside `plain`."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        if value is None or len(kinds) > 1:
            return None if value is None else "one of"
        return told(value, kinds[0])
    if isinstance(schema, str):
        return float(value) if schema in ("float", "double") and value is not None else value
    if schema["type"] == "array":
        return [told(each, schema["items"]) for each in value]
    if schema["type"] == "map":
        return [
            {"key": each["key"], "value": told(each["value"], schema["values"])}
            for each in value
        ]
    if schema["type"] == "record":
        return {f["name"]: told(value[f["name"]], f["type"]) for f in schema["fields"]}
    return value


@examples(0.5)
@given(st.data())
def test_whatever_is_new_is_kept_by_both_readers_alike(data: st.DataObject) -> None:
    schema = data.draw(nested.schemas())
    writer = schema | {"fields": [{"name": "id", "type": "string"}, *schema["fields"]]}
    records = data.draw(st.lists(nested.records(writer), min_size=1, max_size=6))
    bodies = [write(writer, each) for each in records]
    bodies += data.draw(st.lists(nested.bodies(writer), max_size=2))
    frame, ((drift, *_),) = decoded(writer, bodies)
    assert frame["id"].to_list()[: len(records)] == [each["id"] for each in records]
    kept = [each for each in schema["fields"] if each["name"] not in drift.lost]
    for found, each in zip(frame[REST].to_list(), records, strict=False):
        expected = {f["name"]: plain(each[f["name"]], f["type"]) for f in kept}
        types = {f["name"]: f["type"] for f in kept}
        there = {name: told(v, types[name]) for name, v in json.loads(found or "{}").items()}
        assert list(there) == sorted(there)
        written = {f["name"]: each[f["name"]] for f in kept}
        assert repr(there) == repr(
            {n: v for n, v in sorted(expected.items()) if written[n] is not None}
        )


def test_every_type_has_one_text() -> None:
    line = record(
        ("price", logical("bytes", "decimal", precision=6, scale=2)), ("n", "int"), name="Line"
    )
    at = logical("long", "timestamp-millis")
    writer = record(
        ("note", ["null", "string"]), ("id", "string"), ("lines", array(line)),
        ("at", ["null", at]), ("day", logical("int", "date")), ("raw", fixed("F", 4)),
        ("rate", "float"), ("nothing", "null"),
    )  # fmt: skip
    full = {
        "note": 'say "é"\n', "id": "a", "lines": [{"price": Decimal("-1.50"), "n": 2}],
        "at": datetime(2026, 3, 1, 12, 0, 0, 5_000, UTC), "day": date(2026, 3, 1),
        "raw": b"\0\1\2\3", "rate": 0.5, "nothing": None,
    }  # fmt: skip
    bodies = [write(writer, full | more) for more in ({}, {"note": None, "at": None})]
    frame, ((drift, *_),) = decoded(writer, bodies)
    first, second = frame[REST]
    assert first == (
        '{"at":"2026-03-01T12:00:00.005000Z","day":"2026-03-01",'
        '"lines":[{"price":"-1.50","n":2}],"note":"say \\"é\\"\\n","rate":0.5,"raw":"AAECAw=="}'
    )
    assert second == (
        '{"day":"2026-03-01","lines":[{"price":"-1.50","n":2}],"rate":0.5,"raw":"AAECAw=="}'
    )
    assert str(drift).endswith(
        "its records are read, new fields kept in _rest, but for nothing"
    )


def test_nothing_is_kept_where_a_version_names_it_and_a_batch_may_have_both() -> None:
    optional = {"default": None}
    writer = record(("id", "string"), ("points", ["null", "long"], optional))
    both = {1: writer, 2: KNOWN}
    values = [
        HEAD + write(writer, {"id": "a", "points": 3}),
        HEAD + write(writer, {"id": "b", "points": None}),
        b"\0\0\0\0\2" + write(KNOWN, {"id": "c"}),
    ]
    found = Decoder(KNOWN, both.__getitem__, [KNOWN]).decode(values, [None] * 3)
    assert found.in_order()[0].rows() == [("a", '{"points":3}'), ("b", None), ("c", None)]
    newest = Decoder(writer, both.__getitem__, [KNOWN, writer]).decode(values, [None] * 3)
    assert newest.in_order()[0].rows() == [("a", 3, None), ("b", None, None), ("c", None, None)]
    assert not newest.drifted
    unread = Decoder(KNOWN, both.__getitem__).decode(values, [None] * 3)
    assert unread.frame.columns == ["id"]


def test_a_value_that_no_column_holds_is_left_out_and_its_record_is_read() -> None:
    price = logical("bytes", "decimal", precision=2, scale=0)
    writer = record(("id", "string"), ("price", price), ("n", "int"))
    bodies = [write(raw_price(writer), {"id": "a", "price": b"\x7f\xff", "n": 1})]
    frame, _ = decoded(writer, bodies)
    assert frame.rows() == [("a", '{"n":1}')]


def raw_price(writer: Any) -> Any:
    return json.loads(json.dumps(writer).replace('"logicalType"', '"said"'))

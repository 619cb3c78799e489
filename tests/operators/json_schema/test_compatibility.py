"""Whether each value of one JSON Schema is a value of another: never said where it is not so."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.json_schema import unreadable

ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "amount": {"type": "integer", "minimum": 0},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {"type": "object", "properties": {"sku": {"enum": ["a", "b"]}}}},
}


def changed(**properties: Any) -> dict[str, Any]:
    return {**ORDER, "properties": {**ORDER["properties"], **properties}}


@pytest.mark.parametrize(
    ("reader", "whys"),
    [
        (ORDER, []),
        (changed(note={"type": "string"}), []),
        (changed(amount={"type": "number"}), []),
        (changed(id={"type": ["string", "null"], "description": "of the order", "pii": "x"}), []),
        (changed(lines={"type": "array", "items": True}), []),
        ({**ORDER, "required": []}, []),
        ({**ORDER, "required": ["id", "amount"]}, ["amount has to be there"]),
        (changed(amount={"type": "string"}), ["amount: integer is not taken"]),
        (changed(amount={"type": "integer", "minimum": 1}), ["amount: minimum is 1, and was 0"]),
        (changed(id={"type": "string", "minLength": 1, "maxLength": 9}),
         ["id: maxLength is 9, and was nothing"]),
        (changed(id={"type": "string", "pattern": "^o"}),
         ["id: pattern is another, which is not looked into"]),
        ({**ORDER, "additionalProperties": False},
         ["properties that are not declared are not taken"]),
        ({**ORDER, "$defs": {"line": {"type": "object", "properties": {"sku": {"enum": ["a"]}}}}},
         ["lines[].sku: the values b are not taken"]),
    ],
)  # fmt: skip
def test_what_a_newer_version_does_not_take(reader: Any, whys: list[str]) -> None:
    assert unreadable(ORDER, reader) == whys


SCALARS = st.one_of(
    st.builds(
        lambda kind, low, high: {"type": kind, **low, **high},
        st.sampled_from(["integer", "number", ["integer", "null"]]),
        st.sampled_from([{}, {"minimum": 0}, {"minimum": 2}, {"exclusiveMinimum": 0}]),
        st.sampled_from([{}, {"maximum": 3}, {"maximum": 0}]),
    ),
    st.builds(
        lambda low, high: {"type": "string", **low, **high},
        st.sampled_from([{}, {"minLength": 0}, {"minLength": 1}]),
        st.sampled_from([{}, {"maxLength": 2}, {"pattern": "^a"}]),
    ),
    st.sampled_from(
        [{"enum": ["a", 1, None]}, {"const": "a"}, {"enum": [2]}, {"type": "boolean"}]
    ),
)
SCHEMAS = st.recursive(
    st.one_of(SCALARS, st.booleans(), st.just({})),
    lambda inner: st.one_of(
        st.builds(
            lambda properties, required, more: {
                "type": "object",
                "properties": properties,
                "required": sorted(required & properties.keys()),
                **more,
            },
            st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
            st.sets(st.sampled_from("xyz")),
            st.sampled_from([{}, {"additionalProperties": False}]),
        ),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.sampled_from([None, True, -1, 0, 1, 2, 3, 4, 0.5, "", "a", "ab", "abc", "b"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)


def declared(value: Any, schema: Any) -> Any:
    """Return a value without what a schema does not declare."""
    if not isinstance(schema, dict):
        return value
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {n: declared(v, properties[n]) for n, v in value.items() if n in properties}
    if isinstance(value, list):
        return [declared(each, schema.get("items")) for each in value]
    return value


@given(SCHEMAS, SCHEMAS, st.lists(VALUES, max_size=20))
@settings(max_examples=400, deadline=None)
def test_what_is_said_to_be_read_is_read(writer: Any, reader: Any, values: list[Any]) -> None:
    whys = unreadable(writer, reader)
    assert unreadable(writer, writer) == []
    if whys:
        return
    written, read = (jsonschema_rs.Draft202012Validator(each) for each in (writer, reader))
    for value in values:
        value = declared(value, writer)
        if written.is_valid(value):
            assert read.is_valid(value), (writer, reader, value)

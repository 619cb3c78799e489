"""JSON at random for a schema, and a reference: Python's own JSON reader and another validator."""

import json
from typing import Any

import jsonschema
from hypothesis import strategies as st

from operators.json_schema import Version, columns_of

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
VERSION = Version(1, SCHEMA, columns_of(SCHEMA), {})
DTYPES = {name: each.dtype for name, each in VERSION.columns.items()}
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

"""Compatibility of schemas: what it says of a pair is what the decoder does with its records."""

import io

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators.avro import Decoder
from operators.avro.compatibility import broken, invalid, unreadable
from tests.examples import examples

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
VALUES = {"int": [1], "long": [1], "double": [0.5], "string": ["a"], "boolean": [True]}


def record(*fields, **more):
    return {"type": "record", "name": "R", "namespace": "n", "fields": list(fields)} | more


def field(name, kind, **more):
    return {"name": name, "type": kind} | more


@st.composite
def kinds(draw, name):
    """A type, and values that show all that can go wrong with it."""
    kind = draw(st.sampled_from([*VALUES, "enum", "millis"]))
    if kind == "enum":
        symbols = draw(st.sets(st.sampled_from("ABC"), min_size=1).map(sorted))
        made = {"type": "enum", "name": f"E{name}", "symbols": symbols}
        if draw(st.booleans()):
            made["default"] = draw(st.sampled_from(symbols))
        values = symbols
    else:
        made, values = (MILLIS, [1]) if kind == "millis" else (kind, VALUES[kind])
    if draw(st.booleans()):
        null_first = draw(st.booleans())
        return (["null", made] if null_first else [made, "null"]), [*values, None]
    return made, values


@st.composite
def records(draw, defaults):
    """A record of up to three fields, and its records that show what can go wrong."""
    fields, values = [], {}
    for name in draw(st.sets(st.sampled_from("fgh"), max_size=3).map(sorted)):
        kind, values[name] = draw(kinds(name))
        more = {}
        first = kind[0] if isinstance(kind, list) else kind
        if defaults and draw(st.booleans()):
            if isinstance(first, dict) and first["type"] == "enum":
                more["default"] = first["symbols"][0]
            elif first == "null":
                more["default"] = None
            else:
                more["default"] = VALUES["long" if isinstance(first, dict) else first][0]
        if defaults and draw(st.booleans()):
            more["aliases"] = [draw(st.sampled_from("fgh"))]
        fields.append(field(name, kind, **more))
    firsts = {name: each[0] for name, each in values.items()}
    return record(*fields), [
        firsts,
        *({**firsts, name: value} for name, each in values.items() for value in each[1:]),
    ]


@given(records(defaults=False), records(defaults=True))
@examples(1)
def test_a_pair_is_compatible_if_and_only_if_the_decoder_refuses_nothing(writer, reader):
    written, values = writer
    read, _ = reader
    assert invalid(read) == ""
    parsed = fastavro.parse_schema(written)
    framed = []
    for one in values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, one)
        framed.append(b"\0\0\0\0\1" + out.getvalue())
    decoded = Decoder(read, lambda _: written).decode(framed, [None] * len(framed))
    whys = unreadable(written, read)
    assert bool(whys) == bool(decoded.refusals), (whys, decoded.refusals)


def test_every_reason_of_a_pair_is_named():
    writer = record(
        field("a", "string"), field("b", ["null", "long"]), field("t", MILLIS),
        field("e", {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}),
    )  # fmt: skip
    reader = record(
        field("a", "long"), field("b", "long"), field("new", "int"),
        field("t", {"type": "long", "logicalType": "timestamp-micros"}),
        field("e", {"type": "enum", "name": "E", "symbols": ["A"]}), name="S",
    )  # fmt: skip
    assert unreadable(writer, reader) == [
        "the records have different names",
        "field a: written as string, read as long",
        "field b: may be written as null, read as never null",
        "field new: not written, and has no default",
        "field t: written as timestamp-millis, read as timestamp-micros",
        "field e: written as B, C, of which the reader knows nothing, and it has no default symbol",
    ]
    assert unreadable(record(field("a", {"type": "map", "values": "int"})), writer)[1:] == [
        "field b: not written, and has no default",
        "field t: not written, and has no default",
        "field e: not written, and has no default",
    ]
    assert unreadable(writer, {"type": "record"}) == ["the schema is not valid Avro"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("none", []),
        ("backward", [(2, 3)]),
        ("backward_transitive", [(1, 3), (2, 3)]),
        ("forward", [(2, 1)]),
        ("forward_transitive", [(2, 1), (3, 1)]),
        ("full", [(2, 1), (2, 3)]),
        ("full_transitive", [(2, 1), (1, 3), (3, 1), (2, 3)]),
    ],
)
def test_levels_say_who_must_read_whom(level, expected):
    a, b = field("a", "int"), field("b", "int")
    versions = {1: record(a, b), 2: record(a), 3: record(a, field("c", "int"))}
    found = broken({3: versions[3], 1: versions[1], 2: record(a)}, level)
    assert [(each.writer, each.reader) for each in found] == expected


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (3, "the schema is not a record"),
        ({"type": "record", "name": "R", "fields": 3}, "the schema is not valid Avro"),
        (record(field("a", "int"), field("a", "int")), "two fields have one name"),
        (record(field("a", "int", default="x")), "Default value <x> must match"),
        (record(field("a", "int", default=2**40)), "field a: its default is none of its type"),
        (record(field("a", "null")), "a column cannot hold"),
        (
            record(field("a", {"type": "array", "items": "int"}, default=["x"])),
            "field a: its default is none of its type",
        ),
        (
            record(field("a", {"type": "enum", "name": "E", "symbols": ["A", "A"]})),
            "All symbols in an enum must be unique",
        ),
    ],
)
def test_what_is_no_schema_is_said(schema, why):
    assert why in invalid(schema)


@pytest.mark.parametrize("name", schemas.records())
def test_the_packaged_versions_are_what_they_should_be(name):
    versions = {number: schemas.load(name, number) for number in schemas.versions(name)}
    assert [invalid(schema) for schema in versions.values()] == [""] * len(versions)
    assert broken(versions, "full_transitive") == []

"""Whatever a value's bytes are, they are explained, with the decoder's own verdict."""

import io
import json
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.avro import Decoder
from operators.avro.compile import compile_record
from operators.avro.explain import Explained, explain
from operators.avro.framing import ID_HEADER
from operators.avro.walk import MOST_PARTS
from operators.avro.wire import MalformedError
from tests.operators.avro.payments import (
    GUIDS,
    IDS,
    KNOWN,
    PAYMENTS,
    READER,
    decode,
    encode,
    payment,
    v0,
)

NESTED = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "Id", "size": 2}},
        {"name": "note", "type": ["null", "string", {"type": "enum", "name": "Why",
                                                     "symbols": ["LATE", "LOST"]}]},
        {"name": "items", "type": {"type": "array", "items": {
            "type": "record", "name": "Item", "fields": [
                {"name": "sku", "type": "string"},
                {"name": "price", "type": {"type": "bytes", "logicalType": "decimal",
                                           "precision": 4}},
                {"name": "why", "type": ["null", "Why"]}]}}},
        {"name": "first", "type": ["null", "shop.Item"]},
        {"name": "tags", "type": {"type": "map", "values": ["int", "float"]}},
        {"name": "other", "type": "Id"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "good", "type": "boolean"},
        {"name": "none", "type": "null"},
    ],
}  # fmt: skip
ORDER = {
    "id": b"\1\xff",
    "note": ("shop.Why", "LOST"),
    "items": [
        {"sku": "a", "price": b"\0\x10", "why": "LATE"},
        {"sku": "bb", "price": b"", "why": None},
    ],
    "first": {"sku": "é", "price": b"\7", "why": None},
    "tags": {"x": 7, "y": 0.5},
    "other": b"ab",
    "day": 20_000,
    "at": 1_760_000_000_000,
    "good": True,
    "none": None,
}
LOOKUPS = {7: NESTED, **KNOWN}


def order(**fields: Any) -> bytes:
    out = io.BytesIO()
    plain = json.loads(json.dumps(NESTED).replace("logicalType", "was"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain), ORDER | fields)
    return b"\0" + struct.pack(">I", 7) + out.getvalue()


def of(value: bytes | None, headers: Any = None) -> Explained:
    return explain(value, headers, LOOKUPS.__getitem__)


def check(value: bytes | None, headers: Any = None) -> Explained:
    """Check what holds of any value, and return what is said of it."""
    found = of(value, headers)
    ends = [0, *(part.end for part in found.parts)]
    assert [part.begin for part in found.parts] == ends[:-1]
    assert all(part.begin < part.end or part.value in ("", b"") for part in found.parts)
    assert found.end <= len(value or b"")
    if found.broken:
        assert found.broken.at <= len(value or b"")
        assert found.broken.why
        assert found.broken.expected
    json.dumps(found.record, allow_nan=False)
    return found


@st.composite
def mutated(draw, whole: st.SearchStrategy[bytes]) -> bytes:
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["flip", "cut", "put", "take"]))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[at:]
        elif how == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        else:
            del data[at : at + 1]
    return bytes(data)


FRAMED = PAYMENTS.map(lambda each: v0(encode(each)))


@given(mutated(FRAMED) | st.binary(max_size=40) | st.binary(max_size=60).map(v0))
def test_any_payment_is_explained_with_the_decoders_verdict(value):
    found = check(value)
    refused = decode(Decoder(READER, KNOWN.__getitem__), value).refusals
    unreadable = refused and refused[0].code != "incompatible_schema"
    assert bool(found.broken) == bool(unreadable)
    if not found.broken:
        assert found.record is not None
        assert list(found.record) == [field["name"] for field in READER["fields"]]


@given(mutated(st.just(order())) | st.binary(max_size=60).map(lambda b: b"\0\0\0\0\7" + b))
def test_any_nested_record_is_explained_as_the_reference_reads_it(value):
    found = check(value)
    if found.schema is not NESTED:
        return
    try:
        compile_record(NESTED).read(value[5:])
        field = None
    except UnicodeDecodeError:
        field = ""
    except MalformedError as error:
        field = str(error).partition(":")[0].removeprefix("field ")
    assert (found.broken is None) == (field is None)
    assert found.broken is None or found.broken.name.startswith(field or "")


def test_a_nested_record_is_shown_down_to_each_field_and_byte():
    found = check(order())
    assert found.record == {
        "id": "01ff",
        "note": "LOST",
        "items": [
            {"sku": "a", "price": "0010", "why": "LATE"},
            {"sku": "bb", "price": "", "why": None},
        ],
        "first": {"sku": "é", "price": "07", "why": None},
        "tags": {"x": 7, "y": 0.5},
        "other": "6162",
        "day": "2024-10-04",
        "at": "2025-10-09T08:53:20+00:00",
        "good": True,
        "none": None,
    }
    told = [(part.name, part.kind, part.value) for part in found.parts]
    assert told[:6] == [
        ("magic byte", "1 byte", 0), ("schema id", "4 bytes", "7"), ("id", "fixed", "01ff"),
        ("note", "branch", "Why"), ("note", "enum", "LOST"), ("items", "block", 2),
    ]  # fmt: skip
    assert ("items[0].sku", "string", "a") in told
    assert ("items[1].why", "branch", "null") in told
    assert ("tags[1] key", "string", "y") in told
    assert found.end == len(order())


def broken(value: bytes | None, headers: Any = None) -> tuple[str, int, str, str]:
    found = check(value, headers).broken
    assert found
    return found.name, found.at, found.why, found.expected


def test_the_place_where_it_broke_and_what_is_expected_there():
    whole = order()
    assert broken(whole[:6])[:3] == ("id", 6, "the data ends too early")
    assert broken(whole[:7] + b"\6") == (
        "note", 7, "the index is 3", "a branch from 0 to 2: null, string, Why",
    )  # fmt: skip
    assert broken(whole[:8] + b"\4") == (
        "note", 8, "the index is 2", "an index from 0 to 1: LATE, LOST",
    )  # fmt: skip
    assert broken(whole[:7] + b"\2\x14abc") == (
        "note", 8, "the length is 10, and 3 bytes are left",
        "a length, and so many bytes of UTF-8",
    )  # fmt: skip
    assert broken(whole[:7] + b"\2\6a\xffc")[:2] == ("note", 10)
    assert "no UTF-8" in broken(whole[:7] + b"\2\6a\xffc")[2]
    assert broken(whole[:-1] + b"\2") == (
        "good", len(whole) - 1, "a boolean is neither 0 nor 1", "a byte, 0 or 1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "headers", "at", "why", "expected"),
    [
        (None, None, 0, "The value is null", "magic byte 0"),
        (b"", None, 0, "The value is empty", "magic byte 0"),
        (b'{"a":1}', None, 0, "neither magic byte 0 nor 1", "magic byte 0"),
        (b"\0\0\0", None, 3, "ends inside its schema id", "an id of 4 bytes"),
        (b"\1" + b"x" * 12, None, 13, "ends inside its schema id", "a GUID of 16"),
        (b"\0\0\0\0\5x", None, 1, "no schema with the id 5", "the registry has"),
        (b"x", [(ID_HEADER, b"\0\0")], 0, f"header {ID_HEADER} ends", f"header {ID_HEADER}"),
        (b"x", [(ID_HEADER, b"\0\0\0\0\5")], 0, "no schema with the id 5", "the registry has"),
    ],
)
def test_what_has_no_schema_is_explained_as_far(value, headers, at, why, expected):
    found = broken(value, headers)
    assert found[1] == at
    assert why in found[2]
    assert expected in found[3]


def test_a_guid_and_an_id_in_the_header_are_read_as_the_decoder_does():
    body = encode(payment())
    guid = b"\1" + GUIDS[2].bytes
    assert check(guid + body).parts[1].value == str(GUIDS[2])
    for head in (guid, b"\0" + IDS[2].to_bytes(4, "big")):
        found = check(body, [(ID_HEADER, head)])
        assert (found.broken, found.parts[0].name) == (None, "payment_id")


def test_schemas_that_nothing_can_be_read_by_are_named():
    """Among them one that is as deep as Python can go, or deeper."""
    deep: Any = "string"
    for number in range(200):
        fields = [{"name": "f", "type": deep}]
        deep = {"type": "record", "name": f"R{number}", "fields": fields}
    for schema in ({"type": "string"}, {"type": "record", "name": "R"}, deep):
        found = explain(b"\0\0\0\0\7\2a", None, lambda _, schema=schema: schema)
        assert found.broken is None or found.broken.why


def test_of_a_long_array_every_item_is_read_and_the_first_are_shown():
    many = [{"sku": "s", "price": b"", "why": None}] * MOST_PARTS
    found = of(order(items=many))
    assert not found.broken
    assert found.record
    assert len(found.record["items"]) == MOST_PARTS
    assert len(found.parts) <= MOST_PARTS + 2

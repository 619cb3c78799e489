"""Decoding against a third opinion: fastavro, read strictly.

fastavro takes negative indexes, any boolean byte and endless varints, so its word counts
where its own writer would have written the same bytes (they are canonical): those must be
good. Others may be (a padded varint is), and then with the values that fastavro reads.
"""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators.avro import Decoder
from operators.avro.bulk import Bulk
from operators.avro.compile import compile_record
from operators.avro.scan import well_formed
from tests.examples import examples
from tests.operators.avro.payments import (
    IDS,
    KNOWN,
    PAYMENTS,
    READER,
    bits,
    decode,
    encode,
    framed,
    read,
    rows_of,
    v0,
)


@st.composite
def near_valid(draw: st.DrawFn) -> tuple[bytes, int]:
    """Draw a record's body, at times damaged, and its version."""
    version = draw(st.sampled_from([1, 2]))
    body = bytearray(encode(draw(PAYMENTS), version))
    kinds = ["none", "flip", "cut", "insert", "delete", "bomb", "utf8", "byte"]
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=2)):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        if kind == "flip" and body:
            body[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte" and body:
            body[at] = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 0x7F, 0x80, 0xC3, 0xFF]))
        elif kind == "cut":
            del body[at:]
        elif kind == "insert":
            body[at:at] = draw(st.binary(max_size=4))
        elif kind == "delete":
            del body[at : at + draw(st.integers(1, 4))]
        elif kind == "bomb":
            body[at:at] = draw(
                st.sampled_from(
                    [
                        b"\xfe" + b"\xff" * 8 + b"\x01",
                        b"\xff" * 9 + b"\x01",
                        b"\xfe\xff\xff\x7f",
                    ]
                )
            )
        elif kind == "utf8":
            body[at : at + 2] = draw(st.sampled_from([b"\xff\xfe", b"\xc3\x28", b"\xed\xa0"]))
    return bytes(body), version


@examples(2)
@given(st.lists(near_valid(), min_size=1, max_size=12))
def test_near_valid_records_agree_with_fastavro(records: list[tuple[bytes, int]]) -> None:
    decoded = decode(Decoder(READER, KNOWN.__getitem__), *(v0(*record) for record in records))
    refused = {refusal.row for refusal in decoded.refusals}
    assert sorted([*decoded.rows.tolist(), *refused]) == list(range(len(records)))
    rows = dict(zip(decoded.rows.tolist(), rows_of(decoded.frame), strict=True))
    for row, (body, version) in enumerate(records):
        expected, canonical = read(body, version)
        assert row in rows or not canonical
        if row in rows:  # canonical, or with a padded varint, which fastavro reads as we do
            assert expected is not None
            assert rows[row] == {name: bits(expected[name]) for name in rows[row]}


@examples(2)
@given(st.lists(near_valid(), min_size=1, max_size=12))
def test_the_three_readers_agree_on_payments(records: list[tuple[bytes, int]]) -> None:
    for version in IDS:
        bodies = [body for body, v in records if v == version]
        assert_readers_agree(schemas.load("payment", version), bodies)


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
KINDS = ["boolean", "int", "long", "float", "double", "string", ENUM]
KINDS += [["null", kind] for kind in KINDS] + [[kind, "null"] for kind in KINDS]
BYTES = st.sampled_from([0, 1, 2, 3, 4, 0x0F, 0x10, 0x7F, 0x80, 0xC3, 0xFE, 0xFF])


@examples(3)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.lists(st.lists(BYTES, max_size=14).map(bytes), min_size=1, max_size=20),
)
def test_the_three_readers_agree_on_any_flat_schema(kinds: Any, bodies: list[bytes]) -> None:
    fields = [
        # An enum is defined once.
        {"name": f"f{i}", "type": renamed(kind, f"E{i}")}
        for i, kind in enumerate(kinds)
    ]
    assert_readers_agree({"type": "record", "name": "R", "fields": fields}, bodies)


def renamed(kind: Any, name: str) -> Any:
    if isinstance(kind, list):
        return [renamed(branch, name) for branch in kind]
    return kind | {"name": name} if isinstance(kind, dict) else kind


def assert_readers_agree(schema: Any, bodies: list[bytes]) -> None:
    """Bulk, scan and strict give each body one verdict, whatever stands beside it."""
    record = compile_record(schema)
    strict = [fine(record, body) for body in bodies]
    bulk = Bulk(record.fields)
    for skip in (0, 5, 17):
        assert [len(bulk.decode(*framed([body], skip))[1]) == 1 for body in bodies] == strict
    columns, rows = bulk.decode(*framed(bodies))
    taken = rows.tolist()
    assert taken == [row for row, good in enumerate(strict) if good]
    read_strictly = [[bits(value) for value in record.read(bodies[row])] for row in taken]
    in_bulk = [list(map(bits, values)) for values in pl.DataFrame(columns).rows()]
    assert in_bulk == read_strictly
    as_bytes = compile_record(without_text(schema))  # the scan does not look at UTF-8
    payloads, _ = framed(bodies)
    wires = [field.wire for field in record.fields]
    scanned = well_formed(payloads.data, payloads.starts, payloads.ends, wires)
    assert scanned.tolist() == [fine(as_bytes, body) for body in bodies]


def fine(record: Any, body: bytes) -> bool:
    try:
        record.read(body)
    except ValueError:
        return False
    return True


def without_text(schema: Any) -> Any:
    if isinstance(schema, list):
        return [without_text(part) for part in schema]
    if isinstance(schema, dict):
        return {
            key: without_text(part) if key in ("type", "fields") else part
            for key, part in schema.items()
        }
    return "bytes" if schema == "string" else schema


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("long", b"\x80\x00", 0),  # padded
        ("long", b"\xff" * 9 + b"\x01", -(2**63)),
        ("long", b"\xff" * 9 + b"\x7f", -(2**63)),  # past 64 bits: cut, as Java does
        ("long", b"\x80" * 10 + b"\x00", None),  # fastavro reads any length
        ("int", b"\xfe\xff\xff\xff\x0f", 2**31 - 1),
        ("int", b"\x80\x80\x80\x80\x10", None),  # pyruhvro alone would wrap it
        (["null", "int"], b"\x02\x80\x80\x80\x80\x10", None),
        ("boolean", b"\x02", None),  # fastavro: True
        ("double", b"\x00" * 7, None),
        ("string", b"\x01a", None),
        ("string", b"\xfe" + b"\xff" * 8 + b"\x01a", None),
        ("string", b"\x06\xed\xa0\x80", None),  # a surrogate
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x02", "B"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x01", None),  # -1
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x04", None),
        (["null", "string"], b"\x01\x02a", None),  # -1; fastavro: "a"
        (["string", "null"], b"\x00\x02a", "a"),
    ],
)
def test_known_differences_of_the_decoders(kind: Any, body: bytes, value: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}
    decoded = decode(Decoder(schema, lambda _: schema), b"\0\0\0\0\1" + body)
    assert decoded.frame["f"].to_list() == ([] if value is None else [value])
    assert len(decoded.refusals) == (value is None)
    assert_readers_agree(schema, [body, b"", body])

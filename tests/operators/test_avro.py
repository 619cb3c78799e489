"""Decoding against a third opinion: fastavro, read strictly.

fastavro takes negative indexes, any boolean byte and endless varints, so its word counts
where its own writer would have written the same bytes (they are canonical): those must be
good. Others may be (a padded varint is), and then with the values that fastavro reads.
"""

import copy
import io
import struct
import uuid
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from operators.avro import Decoder
from operators.avro.bulk import Bulk
from operators.avro.compile import compile_record
from operators.avro.decode import _Plan
from operators.avro.resolve import Reader
from operators.avro.scan import well_formed

READER = schemas.latest("payment")
IDS = {version: schemas.local_id("payment", version) for version in (1, 2)}
GUIDS = {version: schemas.local_guid("payment", version) for version in (1, 2)}
KNOWN = {IDS[v]: schemas.load("payment", v) for v in IDS} | {
    GUIDS[v]: schemas.load("payment", v) for v in GUIDS
}
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20)
PAYMENTS = st.fixed_dictionaries(
    {
        "payment_id": TEXT,
        "event_time": INT64 | st.integers(1_500_000_000_000_000, 1_900_000_000_000_000),
        "card_id": TEXT,
        "customer_id": TEXT,
        "terminal_id": TEXT,
        "amount_minor": INT64,
        "currency": st.sampled_from(["EUR", "USD", ""]),
        "merchant_category": TEXT,
        "country": TEXT,
        "latitude": st.none() | st.floats(),
        "longitude": st.none() | st.floats(),
        "channel": st.sampled_from(["POS", "ECOM", "ATM", "MOTO"]),
        "device_id": st.none() | TEXT,
        "recurring": st.booleans(),
    }
)


def raw(schema: Any) -> Any:
    """Drop logical types: fastavro raises OverflowError where a datetime cannot follow."""
    if isinstance(schema, list):
        return [raw(part) for part in schema]
    if isinstance(schema, dict):
        return {key: raw(part) for key, part in schema.items() if key != "logicalType"}
    return schema


PARSED = {v: fastavro.parse_schema(raw(schemas.load("payment", v))) for v in IDS}


def encode(payment: dict[str, Any], version: int = 2, schema: Any = None) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema or PARSED[version], payment)
    return out.getvalue()


def read(body: bytes, version: int) -> tuple[dict[str, Any] | None, bool]:
    """Return what fastavro reads, None if it raises, and whether the bytes are canonical."""
    stream = io.BytesIO(body)
    try:
        payment = fastavro.schemaless_reader(stream, PARSED[version])
    except Exception:
        return None, False
    canonical = encode(payment, version) == body[: stream.tell()]
    return {"recurring": False, **payment}, canonical


def bits(value: Any) -> Any:
    """Make floats comparable: NaN as any other, -0.0 apart from 0.0."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def rows_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    rows = frame.with_columns(pl.col("event_time").to_physical()).to_dicts()
    return [{name: bits(value) for name, value in row.items()} for row in rows]


def v0(body: bytes, version: int = 2) -> bytes:
    return b"\0" + IDS[version].to_bytes(4, "big") + body


def payment(**fields: Any) -> dict[str, Any]:
    return {
        "payment_id": "p1",
        "event_time": 1_760_000_000_000_000,
        "card_id": "c1",
        "customer_id": "u1",
        "terminal_id": "t1",
        "amount_minor": 1234,
        "currency": "EUR",
        "merchant_category": "5411",
        "country": "BE",
        "latitude": 50.5,
        "longitude": None,
        "channel": "ATM",
        "device_id": "é",
        "recurring": True,
    } | fields


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(READER, KNOWN.__getitem__)


def decode(decoder: Decoder, *values: bytes | None) -> Any:
    return decoder.decode(values, [None] * len(values))


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


@settings(max_examples=200, deadline=None)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(near_valid(), min_size=1, max_size=12))
def test_the_three_readers_agree_on_payments(records: list[tuple[bytes, int]]) -> None:
    for version in IDS:
        bodies = [body for body, v in records if v == version]
        assert_readers_agree(schemas.load("payment", version), bodies)


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
KINDS = ["boolean", "int", "long", "float", "double", "string", ENUM]
KINDS += [["null", kind] for kind in KINDS] + [[kind, "null"] for kind in KINDS]
BYTES = st.sampled_from([0, 1, 2, 3, 4, 0x0F, 0x10, 0x7F, 0x80, 0xC3, 0xFE, 0xFF])


@settings(max_examples=300, deadline=None)
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
    assert [bulk.decode([body])[1] is None for body in bodies] == strict
    columns, rows = bulk.decode(bodies)
    taken = list(range(len(bodies))) if rows is None else rows.tolist()
    assert taken == [row for row, good in enumerate(strict) if good]
    read_strictly = [[bits(value) for value in record.read(bodies[row])] for row in taken]
    in_bulk = [list(map(bits, values)) for values in pl.DataFrame(columns).rows()]
    assert in_bulk == read_strictly
    as_bytes = compile_record(without_text(schema))  # the scan does not look at UTF-8
    scanned = well_formed(bodies, [field.wire for field in record.fields])
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PAYMENTS, st.sampled_from([1, 2])), min_size=1, max_size=8))
def test_round_trip_of_both_versions(drawn: list[tuple[dict[str, Any], int]]) -> None:
    values = [v0(encode(record, version), version) for record, version in drawn]
    decoded = decode(Decoder(READER, KNOWN.__getitem__), *values)
    assert decoded.refusals == []
    assert decoded.rows.tolist() == list(range(len(drawn)))
    for row, (record, version) in zip(rows_of(decoded.frame), drawn, strict=True):
        expected = record | ({"recurring": False} if version == 1 else {})
        assert row == {name: bits(value) for name, value in expected.items()}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mixed_batches_account_for_every_row(data: st.DataObject) -> None:
    good = encode(payment())
    made: dict[str, tuple[bytes | None, Any, str | None]] = {
        "v0": (v0(good), None, None),
        "version 1": (v0(encode(payment(), 1), 1), [("trace", b"x")], None),
        "v1": (b"\1" + GUIDS[2].bytes + good, [], None),
        "header": (good, [("__value_schema_id", b"\1" + GUIDS[2].bytes)], None),
        "header v0": (good, [("a", b""), ("__value_schema_id", v0(b""))], None),
        "null header": (v0(good), [("__value_schema_id", None)], None),
        "none": (None, None, "null_value"),
        "empty": (b"", [("__value_schema_id", v0(b""))], "empty"),
        "magic": (b"\2" + good, None, "bad_magic"),
        "short": (b"\0\0\0", None, "truncated_frame"),
        "short guid": (b"\1" + bytes(15), None, "truncated_frame"),
        "short header": (good, [("__value_schema_id", b"\0\1")], "truncated_frame"),
        "empty header": (good, [("__value_schema_id", b"")], "truncated_frame"),
        "unknown": (b"\0\0\0\0\7" + good, None, "unknown_schema"),
        "unknown guid": (b"\1" + uuid.UUID(int=5).bytes + good, None, "unknown_schema"),
        "cut": (v0(good[:-1]), None, "malformed"),
        "no body": (v0(b""), None, "malformed"),
        "utf8": (v0(good.replace(b"EUR", b"E\xffR")), None, "bad_utf8"),
    }
    names = data.draw(st.lists(st.sampled_from(sorted(made)), max_size=30))
    decoded = Decoder(READER, KNOWN.__getitem__).decode(
        [made[name][0] for name in names], [made[name][1] for name in names]
    )
    expected = [made[name][2] for name in names]
    assert [(r.row, r.code) for r in decoded.refusals] == [
        (row, code) for row, code in enumerate(expected) if code
    ]
    assert decoded.rows.tolist() == [row for row, code in enumerate(expected) if not code]
    assert decoded.frame.height == len(decoded.rows)
    assert decoded.rows.dtype == np.int64


def test_columns_have_the_readers_order_and_types(decoder: Decoder) -> None:
    frame = decode(decoder, v0(encode(payment()))).frame
    assert frame.columns == [field["name"] for field in READER["fields"]]
    assert frame.schema["event_time"] == pl.Datetime("us", "UTC")
    assert frame.schema["channel"] == pl.String
    assert frame.schema["recurring"] == pl.Boolean
    assert decode(decoder).frame.schema == frame.schema


def test_refusals_name_the_schema_and_hold_no_values(decoder: Decoder) -> None:
    secret = encode(payment(card_id="SECRET", currency="\x7fBAD"))
    values = [v0(secret[:-3]), v0(secret.replace(b"\x7fBAD", b"\xffBAD"))]
    refusals = decode(decoder, *values).refusals
    assert [refusal.schema_id for refusal in refusals] == [str(IDS[2])] * 2
    assert not any("SECRET" in refusal.message for refusal in refusals)


def test_one_bad_record_leaves_its_neighbours(decoder: Decoder) -> None:
    values = [v0(encode(payment(payment_id=f"p{i}"))) for i in range(5000)]
    for row in range(0, 5000, 97):
        values[row] = values[row][:-2]
    decoded = decode(decoder, *values)
    assert [refusal.row for refusal in decoded.refusals] == list(range(0, 5000, 97))
    assert decoded.frame["payment_id"].to_list() == [f"p{row}" for row in decoded.rows]


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


def test_trailing_bytes_are_ignored(decoder: Decoder) -> None:
    assert decode(decoder, v0(encode(payment()) + b"more")).frame.height == 1


def test_text_that_is_only_whole_across_rows_is_refused(decoder: Decoder) -> None:
    """Arrow holds a column's strings end to end: one's last byte may complete the next."""
    halves = [encode(payment(country=two)) for two in ("A1", "1A")]
    values = [
        v0(halves[0].replace(b"A1", b"A\xc3")),
        v0(halves[1].replace(b"1A", b"\xa9A")),
    ]
    assert [refusal.code for refusal in decode(decoder, *values).refusals] == ["bad_utf8"] * 2


def test_a_scan_that_misses_a_record_only_costs_time(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "operators.avro.bulk.well_formed", lambda bodies, _: np.ones(len(bodies), np.bool_)
    )
    decoded = decode(decoder, v0(encode(payment())), v0(b"\x02"), v0(encode(payment())))
    assert decoded.rows.tolist() == [0, 2]
    assert [refusal.row for refusal in decoded.refusals] == [1]


def test_good_records_left_to_the_strict_reader_keep_their_place(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "operators.avro.bulk.well_formed", lambda bodies, _: np.array([False, False, True])
    )
    values = [v0(encode(payment(payment_id="a"))), v0(b""), v0(encode(payment()))]
    decoded = decode(decoder, *values)
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.frame["payment_id"].to_list() == ["a", "p1"]


def test_bulk_decodes_in_pieces_under_arrows_limit(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.avro.bulk._PIECE_BYTES", 100)
    values = [v0(encode(payment(payment_id=f"p{i}"))) for i in range(9)] + [v0(b"\xff")]
    decoded = decode(decoder, *values)
    assert decoded.frame["payment_id"].to_list() == [f"p{i}" for i in range(9)]


def test_the_strict_reader_alone_gives_the_same_frame() -> None:
    record = compile_record(schemas.load("payment", 1))
    plan = _Plan(record, Reader(READER))
    bodies = [encode(payment(amount_minor=i), 1) for i in range(3)] + [b"\xff"]
    fast, rows, refused = plan.decode(bodies)
    plan._bulk = None
    slow, slow_rows, slow_refused = plan.decode(bodies)
    assert fast.equals(slow)
    assert rows is not None
    assert slow_rows is not None
    assert rows.tolist() == slow_rows.tolist() == [0, 1, 2]
    assert refused == slow_refused


def test_infrastructure_errors_pass_through() -> None:
    def down(_: Any) -> Any:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        decode(Decoder(READER, down), v0(b""))


def test_found_schemas_are_looked_up_once_and_unknown_ids_are_not_kept() -> None:
    asked: list[Any] = []

    def lookup(schema_id: Any) -> Any:
        asked.append(schema_id)
        return copy.deepcopy(KNOWN[schema_id])

    decoder = Decoder(READER, lookup)
    unknown = [b"\0" + i.to_bytes(4, "big") for i in range(50)]
    for _ in range(2):
        decode(decoder, *unknown, *unknown, v0(encode(payment())))
    assert asked.count(IDS[2]) == 1
    assert len(asked) == 101
    assert list(decoder._plans) == [IDS[2]]

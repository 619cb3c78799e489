import copy
import uuid
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators.avro import Decoder
from operators.avro.compile import compile_record
from operators.avro.plan import Plan
from operators.avro.resolve import Reader
from tests.examples import examples
from tests.operators.avro.payments import (
    GUIDS,
    IDS,
    KNOWN,
    PAYMENTS,
    READER,
    bits,
    decode,
    encode,
    framed,
    payment,
    rows_of,
    v0,
)


@examples(1.5)
@given(st.lists(st.tuples(PAYMENTS, st.sampled_from([1, 2])), min_size=1, max_size=8))
def test_round_trip_of_both_versions(drawn: list[tuple[dict[str, Any], int]]) -> None:
    values = [v0(encode(record, version), version) for record, version in drawn]
    decoded = decode(Decoder(READER, KNOWN.__getitem__), *values)
    assert decoded.refusals == []
    assert decoded.rows.tolist() == list(range(len(drawn)))
    for row, (record, version) in zip(rows_of(decoded.frame), drawn, strict=True):
        expected = record | ({"recurring": False} if version == 1 else {})
        assert row == {name: bits(value) for name, value in expected.items()}


@examples(1.5)
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
    decoded = decode(
        Decoder(READER, KNOWN.__getitem__),
        *(made[name][0] for name in names),
        headers=[made[name][1] for name in names],
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


def test_trailing_bytes_are_ignored(decoder: Decoder) -> None:
    assert decode(decoder, v0(encode(payment()) + b"more")).frame.height == 1


def test_the_strict_reader_alone_gives_the_same_frame() -> None:
    record = compile_record(schemas.load("payment", 1))
    plan = Plan(record, Reader(READER))
    bodies = [encode(payment(amount_minor=i), 1) for i in range(3)] + [b"\xff"]
    fast, rows, refused = plan.decode(*framed(bodies))
    plan._bulk = None
    slow, slow_rows, slow_refused = plan.decode(*framed(bodies))
    assert fast.equals(slow)
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

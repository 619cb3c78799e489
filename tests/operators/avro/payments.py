"""Payments as Avro bytes, and what fastavro reads of them."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import fastavro
import numpy as np
import polars as pl
from hypothesis import strategies as st

import schemas
from operators.avro import Decoded, Decoder
from operators.avro.payloads import Group, Payloads

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
    except Exception:  # fastavro lets through whatever it trips over: EOFError, IndexError, …
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


def decode(decoder: Decoder, *values: bytes | None, headers: Sequence[Any] = ()) -> Decoded:
    """Decode values, with headers if there are any; rows in order."""
    decoded = decoder.decode(values, headers or [None] * len(values))
    frame, rows = decoded.in_order()
    return Decoded(frame, rows, decoded.refusals)


def framed(bodies: Sequence[bytes], skip: int = 0) -> tuple[Payloads, list[Group]]:
    """Return bodies as the bulk decoder takes them, behind a head of `skip` bytes."""
    head = bytes(skip and 1) + bytes(range(200, 200 + skip))[1:]
    payloads = Payloads.of([head + body for body in bodies])
    return payloads, [Group(np.arange(len(bodies)), skip)]

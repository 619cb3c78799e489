"""Clicks as their topic has them."""

import io
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro

import schemas

START = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = fastavro.parse_schema(schemas.latest("click"))
FRAME = struct.pack(">bI", 0, schemas.local_id("click", 1))


def click(number: int, **fields: Any) -> bytes:
    values = {
        "click_id": f"click-{number}",
        "event_time": START + timedelta(seconds=3 * number),
        "user_id": f"user-{number % 17}",
        "campaign_id": f"campaign-{number % 3}",
        "cost_minor": number % 50,
        "kind": ("IMPRESSION", "IMPRESSION", "CLICK", "CONVERSION")[number % 4],
    } | fields
    out = io.BytesIO()
    out.write(FRAME)
    fastavro.schemaless_writer(out, SCHEMA, values)
    return out.getvalue()

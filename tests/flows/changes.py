"""Changes of customers and terminals as their topics have them, and what they are."""

import io
import json
import random
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro

import schemas

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_MS = int(NOON.timestamp() * 1000)
_TERMINAL = fastavro.parse_schema(schemas.latest("terminal"))
_FRAME = struct.pack(">bI", 0, schemas.local_id("terminal", 1))

Record = tuple[bytes, bytes | None]


def customer(number: int, lsn: int, second: int, *, op: str = "u", **fields: Any) -> Record:
    """Return a change of a customer as Debezium tells it in JSON."""
    row = {
        "customer_id": f"customer-{number}",
        "country": "BE",
        "segment": "HIGH",
        "customer_since": "2020-01-01T00:00:00Z",
    } | fields
    at = _MS + 1_000 * second
    told = {
        "before": row if op == "d" else None,
        "after": None if op == "d" else row,
        "source": {"connector": "postgresql", "ts_ms": at, "lsn": lsn},
        "op": op,
        "ts_ms": at + 5,
    }
    key = json.dumps({"customer_id": row["customer_id"]}).encode()
    return key, json.dumps({"schema": None, "payload": told}).encode()


def terminal(number: int, version: int, second: int, **fields: Any) -> Record:
    """Return a terminal as its owner sends it in Avro."""
    values = {
        "terminal_id": f"terminal-{number}",
        "version": version,
        "event_time": NOON + timedelta(seconds=second),
        "merchant_category": "5411",
        "country": "BE",
        "status": "OPEN",
    } | fields
    out = io.BytesIO()
    out.write(_FRAME)
    fastavro.schemaless_writer(out, _TERMINAL, values)
    return values["terminal_id"].encode(), out.getvalue()


def customers(count: int, rng: random.Random) -> list[Record]:
    """Return changes of customers: some late, some repeated, some deletions, and tombstones."""
    found: list[Record] = []
    for lsn in range(count):
        number, second = rng.randrange(40), lsn - rng.choice([0, 0, 0, 25])
        op = rng.choice("ccuuuuuud")
        made = customer(number, lsn, second, op=op, segment=f"S{lsn}")
        found.append(made)
        if op == "d":
            found.append((made[0], None))
        if rng.random() < 0.1:
            found.insert(rng.randrange(len(found)), rng.choice(found))
    return found

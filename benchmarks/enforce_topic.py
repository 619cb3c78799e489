"""What the benchmark of enforcing is run on: a topic of a format, and what it is held to."""

import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastavro
import orjson
from confluent_kafka import Producer

import schemas
from flows.environment import ENFORCE_PREFIX, PREFIX
from ops.topics import create_topic

NAME: Final = "events"
"""The topic, and the folder of what it is held to."""

PARTITIONS: Final = 4
STATED: Final = {
    "json": "version: {field: _schema_version}\n",
    "avro": "",
    "json-avro": "written: json\n",
}
_CHECKS: Final = "checks: [{code: amount_range, field: amount, range: [0, 100000]}]\n"
_FIELDS: Final = ("order_id", "customer_id", "terminal_id", "currency", "status", "country")
_AVRO: Final[dict[str, Any]] = {
    "type": "record",
    "name": "events",
    "fields": [
        *({"name": name, "type": "string"} for name in _FIELDS),
        {"name": "ordered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "quantity", "type": "int"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}
_JSON: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": [*_FIELDS, "ordered_at", "amount", "quantity"],
    "additionalProperties": False,
    "properties": {
        "_schema_version": {"type": "integer"},
        **{name: {"type": "string", "maxLength": 64} for name in _FIELDS},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "ordered_at": {"type": "string", "format": "date-time"},
        "amount": {"type": "number", "minimum": 0},
        "quantity": {"type": "integer", "minimum": 1},
        "note": {"type": ["string", "null"]},
    },
}


def declare(folder: Path, name: str, more: str = "") -> None:
    """Write the files of the topic in a format; `more` is stated of it as well."""
    mine = folder / NAME
    mine.mkdir(parents=True)
    kind, schema = ("json", _JSON) if name == "json" else ("avsc", _AVRO)
    (mine / f"1.{kind}").write_text(json.dumps(schema))
    (mine / "contract.yaml").write_text(STATED[name] + _CHECKS + more)


def records(name: str, events: int, share: float) -> list[bytes]:
    """Return events of a format, of which a share is bad, in one of three ways."""
    chance = random.Random(7)
    encode = _encoder(name)
    return [encode(n, chance, chance.random() < share) for n in range(events)]


def _encoder(name: str) -> Callable[[int, random.Random, bool], bytes]:
    parsed = fastavro.parse_schema(_AVRO)
    frame = struct.pack(">bI", 0, schemas.local_id(NAME, 1))

    def encode(n: int, chance: random.Random, bad: bool) -> bytes:
        way = n % 3 if bad else 3
        record: dict[str, Any] = {
            "order_id": f"order-{n}",
            "customer_id": f"customer-{chance.randrange(100_000)}",
            "terminal_id": f"terminal-{chance.randrange(10_000)}",
            "currency": "EUR",
            "status": "NEW",
            "country": "BE",
            "ordered_at": 1_772_366_400_000_000 + n * 1_000,
            "amount": 200_000.0 if way == 0 else chance.randrange(10_000_000) / 100,
            "quantity": 1 + n % 9,
            "note": None if n % 4 else "by phone",
        }
        if name == "avro":
            out = io.BytesIO(frame)
            out.seek(len(frame))
            fastavro.schemaless_writer(out, parsed, record)
            body = out.getvalue()
        else:
            if name == "json":
                time = f"2026-03-01T12:{n // 60 % 60:02}:{n % 60:02}.{n % 1000:03}Z"
                record |= {"_schema_version": 1, "ordered_at": time}
            if way == 1:
                record["quantity"] = "one"
            body = orjson.dumps(record)
        return body[:-2] if way == 2 or (name == "avro" and way == 1) else body

    return encode


def settings(bootstrap: str, work: Path, folder: Path) -> dict[str, str]:
    """Return the settings of a flow that enforces what a folder declares."""
    return {
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        f"{PREFIX}DELTA_ROOT": str(work / "tables"),
        f"{PREFIX}MAX_REJECT_RATIO": "1",
        f"{ENFORCE_PREFIX}FOLDER": str(folder),
    }


def send(bootstrap: str, values: list[bytes], topic: str = NAME) -> None:
    """Make the topic, or another one, and fill it."""
    create_topic(bootstrap, topic, PARTITIONS)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 0}
    )
    for n, value in enumerate(values):
        producer.produce(topic, value, b"key-%d" % (n % 1000), n % PARTITIONS)
        if not n % 10_000:
            producer.poll(0)
    producer.flush()

"""Topics for the enforce flow: one of each format, records good and bad, and what came of them."""

import io
import json
import shlex
import struct
from pathlib import Path
from typing import Any, Final

import fastavro
import polars as pl
import pytest
from confluent_kafka import Producer

import schemas
from operators.connectors.kafka.client import read_to_end
from ops import cli
from ops.local import Stack

PARTITIONS: Final = 2
SIZE: Final = 1_200

Sent = dict[str, list[tuple[bytes | None, bytes | None, Any]]]
"""Keys, values and headers by topic."""

ORDER: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["_schema", "_schema_version", "order_id", "ordered_at", "amount"],
    "properties": {
        "_schema": {"type": "string"},
        "_schema_version": {"type": "integer"},
        "order_id": {"type": "string", "minLength": 1},
        "ordered_at": {"type": "string", "format": "date-time"},
        "amount": {"type": "number", "exclusiveMinimum": 0},
        "customer": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string"}, "country": {"type": "string"}},
        },
        "lines": {"type": "array", "items": {"type": "integer"}},
    },
}
ORDER_2: Final = {
    **ORDER,
    "required": [*ORDER["required"], "currency"],
    "properties": {**ORDER["properties"], "currency": {"enum": ["EUR", "USD"]}},
}
READING: Final[dict[str, Any]] = {
    "type": "record",
    "name": "reading",
    "fields": [
        {"name": "sensor", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "value", "type": "double"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {
            "name": "place",
            "type": {
                "type": "record",
                "name": "place",
                "fields": [{"name": "room", "type": "int"}],
            },
        },
    ],
}


def declare(folder: Path, topic: str) -> Path:
    """Make the folder of three topics, whose names in Kafka begin with `topic`; return it."""
    texts = {
        "orders/1.json": json.dumps(ORDER),
        "orders/2.json": json.dumps(ORDER_2),
        "orders/contract.yaml": f"""\
topic: {topic}.orders
version: {{field: _schema_version, schema_field: _schema}}
checks:
  - {{code: amount_range, field: amount, range: [0, 1_000_000]}}
""",
        "readings/1.avsc": json.dumps(READING),
        "readings/contract.yaml": f"""\
topic: {topic}.readings
checks:
  - {{code: value_range, field: value, range: [-100, 100]}}
""",
        "heartbeats/1.avsc": json.dumps(READING),
        "heartbeats/contract.yaml": f"""\
topic: {topic}.heartbeats
written: json
version: {{header: schema-version}}
validated: false
checks:
  - {{code: sensor_form, field: sensor, pattern: "[a-z]+"}}
repairs:
  - {{does: trim, field: sensor}}
""",
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def order(number: int, version: int = 1, **fields: Any) -> bytes:
    """Return an order as its topic has it; a field that is None is left out."""
    values = {
        "_schema": "orders",
        "_schema_version": version,
        "order_id": f"order-{number}",
        "ordered_at": f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}Z",
        "amount": number + 0.5,
        "customer": {"id": f"customer-{number % 7}"},
        "lines": [number, number + 1],
        **({"currency": "EUR"} if version == 2 else {}),
    } | fields
    return json.dumps({k: v for k, v in values.items() if v is not None}).encode()


def reading(number: int, **fields: Any) -> dict[str, Any]:
    """Return a reading's fields."""
    return {
        "sensor": "abc"[number % 3],
        "at": 1_772_366_400_000_000 + number,
        "value": number % 90,
        "note": None,
        "place": {"room": number % 5},
    } | fields


def avro(fields: dict[str, Any]) -> bytes:
    """Return a reading as Avro behind its local id."""
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, schemas.local_id("readings", 1)))
    fastavro.schemaless_writer(out, fastavro.parse_schema(READING), fields)
    return out.getvalue()


def settings(stack: Stack, folder: Path) -> dict[str, str]:
    """Return the flow's settings, with its topics declared and its tables in a folder."""
    given = stack.env()
    del given["MILLSTREAM_REDIS_URL"]
    return {
        **given,
        "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
        "MILLSTREAM_ENFORCE_FOLDER": str(declare(folder / "enforced", folder.name)),
        "MILLSTREAM_BATCH_SIZE": "200",
    }


def records(size: int = SIZE) -> Sent:
    """Return keys, values and headers by topic: one in twenty is bad, in every way."""
    orders, readings, beats = [], [], []
    for n in range(size):
        key, mine = f"key-{n % 11}".encode(), [("trace", str(n).encode())]
        value = order(n, 1 + n % 2)
        if n % 20 == 7:
            value = [
                value[:-1],
                value.replace(b'{"_schema"', b'{"amount": 1, "_schema"'),
                b"\xff" + value,
                order(n, 3),
                order(n, 2, currency=None),
                order(n, amount=2_000_000),
                order(n, ordered_at="noon"),
                order(n, _schema="others"),
                b"[]",
                b"",
            ][n // 20 % 10]
        orders.append((key, value, mine if n % 3 else None))
        body = avro(reading(n))
        if n % 20 == 7:
            body = [body[:-1], b"\0\0\0\0\1" + body[5:], avro(reading(n, value=200)), b"?"][
                n // 20 % 4
            ]
        readings.append((key, body, mine if n % 2 else None))
        if n < size // 4:
            beat = reading(n, sensor=" a" if n % 30 == 4 else "a")
            if n % 20 == 7:
                beat["at"] = "noon"
            version = b"2" if n % 20 == 8 else b"1"
            beats.append((None, json.dumps(beat).encode(), [("schema-version", version)]))
    return {"orders": orders, "readings": readings, "heartbeats": beats}


def send(stack: Stack, topic: str, every: Sent) -> None:
    """Send all of them, in turn to the partitions."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for name, mine in every.items():
        for n, (key, value, headers) in enumerate(mine):
            producer.produce(
                f"{topic}.{name}", value, key, n % PARTITIONS, headers=headers or []
            )
    assert producer.flush(60) == 0


def there(stack: Stack, topic: str, partitions: int = PARTITIONS) -> list[list[Any]]:
    """Return the messages that a topic has, by partition."""
    found: list[list[Any]] = [[] for _ in range(partitions)]
    config = {"bootstrap.servers": stack.bootstrap}
    for message in read_to_end(config, topic, dict.fromkeys(range(partitions), 0)):
        found[message.partition()].append(message)
    return found


def table(folder: Path, name: str) -> pl.DataFrame:
    """Return a table's rows by their places."""
    rows = pl.read_delta(str(folder / "tables" / name))
    return rows.sort("source_partition", "source_offset")


def expected(every: Sent, name: str, good: set[int]) -> list[list[Any]]:
    """Return by partition what a topic has of the records that are good."""
    found: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    for n, (key, value, headers) in enumerate(every[name]):
        if n in good:
            found[n % PARTITIONS].append((key, value, headers or []))
    return found


def asked(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, Any]:
    """Return what a command of ``millstream`` ends with, and prints as JSON."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*shlex.split(command), "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

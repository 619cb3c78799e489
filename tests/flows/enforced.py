"""Topics for the enforce flow: one of each format, and records that are good and bad."""

import io
import json
import struct
from pathlib import Path
from typing import Any, Final

import fastavro

import schemas

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

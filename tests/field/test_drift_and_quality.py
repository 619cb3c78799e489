"""What producers do without telling anybody: their schemas drift, and some of it is bad."""

import io
import json
import shutil
from datetime import UTC, datetime
from typing import Any

import fastavro
from confluent_kafka import Producer

import schemas
from flows import settings as settings_
from ops.verify import verify
from tests.field.topic import NOON, Field, payment
from tests.operators.connectors.registry_server import serving
from tests.ops.reports import broken
from tests.running import Flow

NEWEST = schemas.latest("payment")
POINTS = {"name": "points", "type": ["null", "long"], "default": None}
BASKET = {"name": "basket", "type": {"type": "array", "items": "string"}, "default": []}
MORE = NEWEST | {"fields": [*NEWEST["fields"], POINTS, BASKET]}
LESS = NEWEST | {"fields": [each for each in NEWEST["fields"] if each["name"] != "country"]}
MINUTE = 60_000
KILLED = "operators.connectors.delta.writer.sync_commit:kill"


def of_schema(schema_id: int, value: bytes, more: dict[str, Any] | None = None) -> bytes:
    """Return a payment as its writer has it by another schema, with fields behind the others."""
    body = io.BytesIO()
    if more is not None:
        behind = {"type": "record", "name": "More", "fields": [POINTS, BASKET]}
        fastavro.schemaless_writer(body, fastavro.parse_schema(behind), more)
    return b"\0" + schema_id.to_bytes(4, "big") + value[5:] + body.getvalue()


def send(field: Field, *records: tuple[int, int, bytes]) -> None:
    """Send records (partition, minute of Kafka's time, value)."""
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})
    start = int(NOON.timestamp() * 1000)
    for partition, minute, value in records:
        at = start + minute * MINUTE
        producer.produce(field.topic, value, partition=partition, timestamp=at)
    assert producer.flush(30) == 0


def test_drift_is_told_once_new_fields_are_kept_and_every_record_is_counted(
    local: Field,
) -> None:
    """Killed between two tables' commits, and once with its state lost."""
    local.create(2)
    with serving() as registry:
        ids = [
            registry.add(f"{local.topic}-value", {"schema": json.dumps(schema)})
            for schema in (NEWEST, MORE, LESS)
        ]
        local.settings["MILLSTREAM_SCHEMA_REGISTRY"] = registry.url
        known, more, less = (
            lambda n, schema_id=schema_id, **given: of_schema(schema_id, payment(n), **given)
            for schema_id in ids
        )
        send(
            local,
            *((0, 0, known(number)) for number in range(4)),
            (0, 1, more(4, more={"points": 7, "basket": ["a"]})),
            (0, 1, known(3)),
            (1, 0, less(5)),
            (1, 1, b"junk"),
        )
        ends = {"STOP_AT_END": "true"}
        stop = {"MILLSTREAM_STOP_AT_END": "true"}
        killed = Flow("payments", local.settings | stop, local.folder / "state", at=KILLED)
        assert killed.wait() == -9
        assert local.flow(**ends).wait() == 0
        send(
            local,
            (0, 1, more(6, more={"points": None, "basket": []})),
            (0, 3, known(7)),
            (1, 1, more(8, more={"points": 1, "basket": []})),
            (1, 1, known(9)[:-1]),
            (1, 0, known(10)),
        )
        shutil.rmtree(local.folder / "state")
        assert local.flow(CLOSE_WINDOWS_AT_END="true", **ends).wait() == 0
        silver = local.table("silver/payments")
        rest = dict(silver.select("payment_id", "_rest").drop_nulls().iter_rows())
        assert rest == {
            "payment-4": '{"basket":["a"],"points":7}',
            "payment-6": '{"basket":[]}',
            "payment-8": '{"basket":[],"points":1}',
        }
        drift = local.table("gold/schema_drift").drop("flow_version", "written_at")
        place = ["source_partition", "source_offset", "schema_id", "version", "outcome"]
        assert drift.select(*place, "change", "field").rows() == [
            (0, 4, str(ids[1]), 2, "read", "added", "points"),
            (0, 4, str(ids[1]), 2, "read", "added", "basket"),
            (1, 0, str(ids[2]), 2, "refused", "removed", "country"),
            (1, 2, str(ids[1]), 2, "read", "added", "points"),
            (1, 2, str(ids[1]), 2, "read", "added", "basket"),
        ]
        assert set(drift["text"]) == {
            "null | long, default null", "array of string, default []", "string"
        }  # fmt: skip
        quality = local.table("gold/data_quality").sort(
            "source_partition", "first_offset", "code"
        )
        counts = ["records", "valid", "duplicates", "refused", "violations"]
        minutes = [(at - NOON.replace(tzinfo=UTC)).seconds // 60 for at in quality["minute"]]
        told = quality.select("source_partition", "first_offset", "code", *counts).rows()
        assert [(at, *row) for at, row in zip(minutes, told, strict=True)] == [
            (0, 0, 0, None, 4, 4, 0, 0, 0),
            (1, 0, 4, None, 3, 2, 1, 0, 0),
            (3, 0, 7, None, 1, 1, 0, 0, 0),
            (0, 1, 0, None, 1, 0, 0, 1, 0),
            (0, 1, 0, "incompatible_schema", 0, 0, 0, 0, 1),
            (1, 1, 1, None, 4, 2, 0, 2, 0),
            (1, 1, 1, "bad_magic", 0, 0, 0, 0, 1),
            (1, 1, 1, "malformed", 0, 0, 0, 0, 1),
        ]
        assert quality["newest_event_time"].max() > datetime(2026, 3, 1, tzinfo=UTC)
        report = verify(settings_.load(local.settings))
        assert broken(report) == []
        (check,) = (each for each in report.checks if each.name.startswith("gold/data_quality"))
        assert check.compared == quality.height

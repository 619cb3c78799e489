"""Chargebacks are counted minute by minute, and drift is told, though they have no bronze."""

import io
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import schemas
from flows import settings as settings_
from ops.verify import verify
from tests.field.test_labels import FRAUDS, RULE, label
from tests.field.topic import NOON, Field, payments
from tests.operators.connectors.registry_server import serving
from tests.ops.reports import broken
from tests.running import Flow
from tests.servers import kafka

NEWEST = schemas.latest("chargeback")
POINTS = {"name": "points", "type": ["null", "long"], "default": None}
MORE = NEWEST | {"fields": [*NEWEST["fields"], POINTS]}
MINUTE = 60_000
KILLED = "operators.connectors.delta.writer.sync_commit:kill"
QUALITY = "gold/chargeback_data_quality"
END = {"STOP_AT_END": "true"}


def chargeback(schema_id: int, schema: Any, number: int) -> bytes:
    values = {
        "chargeback_id": f"cb-{number}", "event_time": NOON + timedelta(minutes=number),
        "payment_id": f"payment-{number}", "card_id": f"card-{number % 7}",
        "amount_minor": 1_000 + number, "currency": "EUR", "reason_code": "10.4", "fraud": True,
        "points": 5,
    }  # fmt: skip
    out = io.BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), values)
    return out.getvalue()


def produce(field: Field, suffix: str, *records: tuple[int, bytes]) -> None:
    """Send records (minute of Kafka's time, value) to a topic beside that of payments."""
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})
    start = int(NOON.timestamp() * 1000)
    for minute, value in records:
        at = start + minute * MINUTE
        producer.produce(f"{field.topic}.{suffix}", value, partition=0, timestamp=at)
    assert producer.flush(30) == 0


def forget_before(field: Field, offset: int) -> None:
    """Have the topic delete what is before an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})
    place = TopicPartition(f"{field.topic}.back", 0, offset)
    for done in admin.delete_records([place]).values():
        done.result(30)


def test_each_is_counted_in_its_minute_whatever_is_killed_lost_or_deleted(field: Field) -> None:
    """A kill between two tables' commits; then the state is lost, and what the topic had of it."""
    field.create()
    # Times are the producer's, long ago.
    kafka.create_topic(field.bootstrap, f"{field.topic}.back", 1, **{"retention.ms": "-1"})
    field.send(*payments(0, 9))
    with serving() as registry:
        known, more = (
            registry.add(f"{field.topic}.back-value", {"schema": json.dumps(schema)})
            for schema in (NEWEST, MORE)
        )
        field.settings["MILLSTREAM_SCHEMA_REGISTRY"] = registry.url

        def good(number: int) -> bytes:
            return chargeback(known, NEWEST, number)

        drifted = chargeback(more, MORE, 2)
        produce(
            field, "back",
            *((0, good(number)) for number in (0, 1, 1)), (0, b"junk"),
            (1, drifted), (1, drifted), (1, good(3)[:-1]),
        )  # fmt: skip
        state = field.folder / "state"
        settings = field.settings | {"MILLSTREAM_STOP_AT_END": "true"}
        killed = Flow("chargebacks", settings, state, at=KILLED)
        assert killed.wait() == -9
        flow = field.flow("chargebacks", **END)
        assert flow.wait() == 0, flow.said()
        produce(field, "back", (1, good(4)), (1, drifted), (3, good(5)))
        shutil.rmtree(state)
        forget_before(field, 7)
        for name in ("payments", "chargebacks"):
            flow = field.flow(name, **END, CLOSE_WINDOWS_AT_END="true")
            assert flow.wait() == 0, flow.said()

        quality = field.table(QUALITY).sort("first_offset", "code", nulls_last=False)
        counts = ["records", "missing", "valid", "duplicates", "refused", "violations"]
        minutes = [(at - NOON).seconds // 60 for at in quality["minute"]]
        told = quality.select("first_offset", "code", *counts).rows()
        assert [(at, *row) for at, row in zip(minutes, told, strict=True)] == [
            (0, 0, None, 4, 0, 2, 1, 1, 0),
            (0, 0, "bad_magic", 0, 0, 0, 0, 0, 1),
            # The first three of it are in no topic and in no store any more.
            (1, 4, None, 5, 0, 2, 2, 1, 0),
            (1, 4, "malformed", 0, 0, 0, 0, 0, 1),
            (3, 9, None, 1, 0, 1, 0, 0, 0),
        ]
        drift = field.table("gold/chargeback_schema_drift")
        told = drift.select("source_offset", "schema_id", "outcome", "change", "field").rows()
        assert told == [(4, str(more), "read", "added", "points")]
        silver = field.table("silver/chargebacks")
        rest = dict(silver.select("chargeback_id", "_rest").drop_nulls().iter_rows())
        assert rest == {"cb-2": '{"points":5}'}
        report = verify(settings_.load(field.settings))
        # What the topic has deleted made its watermark, and no table has all of that.
        assert [name for name in broken(report) if "' watermark is" not in name] == []
        (check,) = (each for each in report.checks if each.name.startswith(QUALITY))
        assert check.compared == quality.height


def test_drift_of_labels_is_told_once_where_features_are_made_of_them(
    local: Field, tmp_path: Path
) -> None:
    features = tmp_path / "rules" / "features"
    features.mkdir(parents=True)
    (features / "terminal_frauds_1h.yaml").write_text(FRAUDS)
    (features.parent / "known_terminal.yaml").write_text(RULE)
    local.settings["MILLSTREAM_RULES"] = str(tmp_path / "rules")
    local.create()
    kafka.create_topic(local.bootstrap, f"{local.topic}.labels", 1)
    newest = schemas.latest("label")
    more = newest | {"fields": [*newest["fields"], POINTS]}
    with serving() as registry:
        id_ = registry.add(f"{local.topic}.labels-value", {"schema": json.dumps(more)})
        local.settings["MILLSTREAM_SCHEMA_REGISTRY"] = registry.url
        # The field behind the others: the second branch of its union, and 5.
        values = [
            b"\0" + id_.to_bytes(4, "big") + label(n, event_time=NOON)[5:] + b"\2\n"
            for n in range(3)
        ]
        local.send(*payments(0, 3))
        for number in range(2):
            produce(local, "labels", *((0, value) for value in values[number:]))
            flow = local.flow("payments", f"state-{number}", **END)
            assert flow.wait() == 0, flow.said()
        drift = local.table("gold/label_schema_drift")
        told = drift.select("source_offset", "schema_id", "change", "field").rows()
        assert told == [(0, str(id_), "added", "points")]
        assert set(local.table("silver/labels")["_rest"]) == {'{"points":5}'}
        assert local.table("silver/label_duplicates")["kafka_timestamp"].null_count() == 0
        report = verify(settings_.load(local.settings))
        assert broken(report) == []

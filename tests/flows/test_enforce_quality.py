"""What became of each record of enforced topics is counted, and drift is told, once."""

import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from confluent_kafka import Producer

import schemas
from ops.local import Stack
from ops.topics import create_topic
from tests.flows.enforced import READING, asked, reading, settings, table
from tests.operators.connectors.registry_server import serving
from tests.running import Flow, run

MINUTE = 60_000
START = 1_772_366_400_000  # 2026-03-01T12:00:00Z in ms
UNIT = {"name": "unit", "type": ["null", "string"], "default": None}
MORE = READING | {"fields": [*READING["fields"], UNIT]}
KILLED = "operators.connectors.delta.writer.sync_commit:kill"
COUNTS = ["records", "missing", "valid", "repaired", "duplicates", "refused", "violations"]


def avro(schema_id: int, schema: Any, number: int, **fields: Any) -> bytes:
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), reading(number, **fields))
    return out.getvalue()


def beat(number: int, **fields: Any) -> bytes:
    return json.dumps(reading(number, sensor="a", **fields)).encode()


def send(stack: Stack, topic: str, *records: tuple[int, int, bytes]) -> None:
    """Send records (partition, minute of Kafka's time, value), with a version in a header."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for partition, minute, value in records:
        producer.produce(
            topic, value, partition=partition, timestamp=START + minute * MINUTE,
            headers=[("schema-version", b"1")],
        )  # fmt: skip
    assert producer.flush(30) == 0


def minutes(quality: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return partition, minute, code and counts of each row."""
    order = "source_partition", "first_offset", "code"
    rows = quality.sort(order, nulls_last=False)
    assert rows["newest_event_time"].null_count() == rows.height
    since = (rows["minute"].dt.epoch("ms") - START) // MINUTE
    told = rows.select("source_partition", since.alias("minute"), "code", *COUNTS)
    return told.rows()


def test_each_is_counted_in_its_minute_and_drift_is_told_once(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed between two tables' commits, then with the state lost."""
    name = tmp_path.name
    given = settings(stack, tmp_path)
    shutil.rmtree(tmp_path / "enforced" / "orders")
    with (tmp_path / "enforced" / "readings" / "contract.yaml").open("a") as contract:
        contract.write("  - {code: value_high, field: value, range: [0, 50], severity: warn}\n")
    for topic in ("readings", "heartbeats"):
        create_topic(stack.bootstrap, f"{name}.{topic}", 2)
    with serving() as registry:
        known, more = (
            registry.add(f"{name}.readings-value", {"schema": json.dumps(schema)})
            for schema in (READING, MORE)
        )
        given["MILLSTREAM_SCHEMA_REGISTRY"] = registry.url
        ends = given | {"MILLSTREAM_STOP_AT_END": "true"}

        def good(number: int) -> bytes:
            return avro(known, READING, number)

        drifted = avro(more, MORE, 2, unit="C")
        send(
            stack, f"{name}.readings",
            (0, 0, good(0)), (0, 0, b"junk"), (0, 0, avro(known, READING, 1, value=60)),
            (0, 1, drifted), (0, 1, drifted),
            (1, 0, good(1)), (1, 0, avro(known, READING, 1, value=200)), (1, 2, good(1)),
        )  # fmt: skip
        send(
            stack, f"{name}.heartbeats",
            (0, 0, beat(0)), (0, 0, beat(1).replace(b'"a"', b'" a"')), (0, 0, b"{"),
        )  # fmt: skip
        killed = Flow("enforce", ends, tmp_path / "state", at=KILLED)
        assert killed.wait() == -9
        run("enforce", ends, tmp_path / "state")
        send(stack, f"{name}.readings", (0, 1, drifted), (0, 3, good(5)), (1, 3, drifted))
        send(stack, f"{name}.heartbeats", (0, 1, beat(2)), (1, 0, beat(3)))
        shutil.rmtree(tmp_path / "state")
        run("enforce", ends, tmp_path / "state")
        for variable, value in given.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.delenv("MILLSTREAM_REDIS_URL", raising=False)
        status, found = asked(capsys, "verify")
        assert status == 0, found

    # The newest minute of each partition is open.
    readings = table(tmp_path, "gold/readings_data_quality")
    assert minutes(readings) == [
        (0, 0, None, 3, 0, 2, 0, 0, 1, 0),
        (0, 0, "bad_magic", 0, 0, 0, 0, 0, 0, 1),
        (0, 0, "value_high", 0, 0, 0, 0, 0, 0, 1),
        (0, 1, None, 3, 0, 3, 0, 0, 0, 0),
        (1, 0, None, 2, 0, 1, 0, 0, 1, 0),
        (1, 0, "value_range", 0, 0, 0, 0, 0, 0, 1),
        (1, 2, None, 1, 0, 1, 0, 0, 0, 0),
    ]
    assert minutes(table(tmp_path, "gold/heartbeats_data_quality")) == [
        (0, 0, None, 3, 0, 2, 1, 0, 1, 0),
        (0, 0, "malformed", 0, 0, 0, 0, 0, 0, 1),
    ]
    stages = dict(readings.drop_nulls("code").select("code", "stage").iter_rows())
    assert stages == {"bad_magic": "decode", "value_high": "warn", "value_range": "contract"}
    drift = table(tmp_path, "gold/readings_schema_drift")
    place = drift.select("source_partition", "source_offset", "schema_id", "outcome")
    assert place.rows() == [(0, 3, str(more), "read"), (1, 3, str(more), "read")]
    assert set(drift.select("change", "field").rows()) == {("added", "unit")}
    assert not (tmp_path / "tables" / "gold" / "heartbeats_schema_drift").exists()
    silver = table(tmp_path, "silver/readings")
    assert silver["contract_warnings"].drop_nulls().to_list() == ["value_high"]
    assert set(silver["_rest"].drop_nulls()) == {'{"unit":"C"}'}

    # What verify counts anew is held against the table.
    checked = {each["name"].split()[0]: each for each in found["checks"]}
    assert checked["gold/readings_data_quality"]["compared"] == readings.height
    wrong = readings.with_columns(valid=pl.col("valid") + 1)
    wrong.write_delta(str(tmp_path / "tables/gold/readings_data_quality"), mode="overwrite")
    _, found = asked(capsys, "verify")
    broken = [each["name"].split()[0] for each in found["checks"] if not each["ok"]]
    assert broken == ["gold/readings_data_quality"]


def test_a_table_that_comes_later_counts_from_where_the_flow_has_come_to(
    stack: Stack, tmp_path: Path
) -> None:
    """As with tables of a release without it, whether the state is there or lost."""
    name = tmp_path.name
    given = settings(stack, tmp_path) | {"MILLSTREAM_STOP_AT_END": "true"}
    for other in ("orders", "heartbeats"):
        shutil.rmtree(tmp_path / "enforced" / other)
    create_topic(stack.bootstrap, f"{name}.readings", 1)
    known = schemas.local_id("readings", 1)

    def sent(*every: int) -> None:
        some = [(0, minute, avro(known, READING, minute)) for minute in every]
        send(stack, f"{name}.readings", *some)
        run("enforce", given, tmp_path / "state")

    sent(0, 1)
    shutil.rmtree(tmp_path / "tables" / "gold")
    shutil.rmtree(tmp_path / "state")
    sent(2, 3)
    quality = table(tmp_path, "gold/readings_data_quality")
    assert quality["first_offset"].to_list() == [2]
    sent(4)
    quality = table(tmp_path, "gold/readings_data_quality")
    assert quality["first_offset"].to_list() == [2, 3]

"""Mistakes that people make, and what the flow says of them: one line each, never a traceback."""

import contextlib
import re
import shutil
import signal
import socket
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from ops.local import Stack
from ops.topics import create_topic
from tests import topics
from tests.field.topic import payments
from tests.running import Flow, run, wait_until
from tests.servers.ports import lasting_port

_PEER = "millstream: another process of this flow has ended"


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """Settings of a flow that reads a topic of its own."""
    create_topic(stack.bootstrap, tmp_path.name, 1)
    return topics.settings(stack, tmp_path.name, tmp_path)


def send(stack: Stack, topic: str, values: Sequence[bytes]) -> None:
    """Send records."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0


def last_words(flow: Flow, status: int) -> list[str]:
    """Return what a flow says at its end, which is all that it says but for its log."""
    assert flow.wait() == status, flow.said()
    lines = [
        line
        for line in flow.said().splitlines()
        if not re.match(r"INFO |WARNING |worker \d+:\terror connecting", line)
    ]
    assert all(line.startswith("millstream: ") for line in lines), flow.said()
    return lines


def test_what_is_told_on_the_command_line_is_refused_at_once(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """Zero workers ran to a good end, having read nothing."""
    file = tmp_path / "file"
    file.touch()
    addresses = "127.0.0.1:2101;127.0.0.1:2102"
    arguments = ("-w", "0", "-i", "2", "-a", addresses, "-r", str(file))
    lines = last_words(Flow("payments", settings, tmp_path, *arguments), 2)
    assert [line.split()[1] for line in lines] == ["-w", "-i", "-r"]
    assert f"{file} is no folder" in lines[2]


@pytest.mark.parametrize(
    ("name", "value", "status", "said"),
    [
        (
            "MILLSTREAM_SCHEMA_REGISTRY", "http:/user:secret@registry", 2,
            "is neither an http",
        ),
        ("MILLSTREAM_DELTA_ROOT", "{file}/tables", 1, "Not a directory. Make"),
        ("MILLSTREAM_REDIS_URL", "redis://127.0.0.1:99999/0", 2, "has a port that is no number"),
        # A client takes it for port 1.
        (
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:65537", 1,
            "127.0.0.1:1 failed: Connection refused",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(
    name: str, value: str, status: int, said: str, settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    wrong = {name: value.format(file=tmp_path / "file")}
    if "KAFKA" in name:
        wrong["MILLSTREAM_START_TIMEOUT"] = "2s"
    flow = Flow("payments", settings | wrong, tmp_path)
    (line,) = last_words(flow, status)
    assert name in line
    assert said in line
    assert "secret" not in flow.said()


def test_the_metrics_port_is_taken_by_the_other_flow(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        metrics = {
            "BYTEWAX_DATAFLOW_API_ENABLED": "1",
            "BYTEWAX_DATAFLOW_API_PORT": str(other.getsockname()[1]),
        }
        (line,) = last_words(Flow("payments", settings | metrics, tmp_path), 1)
    assert "Set BYTEWAX_DATAFLOW_API_PORT to another port" in line


def test_a_topic_of_something_else_is_read(
    stack: Stack, settings: dict[str, str], tmp_path: Path
) -> None:
    """The breaker pauses the flow, which ends as it is told to; a run to the end it ends."""
    send(stack, tmp_path.name, [b"something else"] * 1_100)
    flow = Flow("payments", settings | {"MILLSTREAM_MAX_REJECT_RUN": "0"}, tmp_path)
    wait_until(lambda: f"{tmp_path.name}/0 is paused, as 1,100 of its last" in flow.said())
    send(stack, tmp_path.name, [b"something else"] * 300)
    quarantine = tmp_path / "tables" / "quarantine" / "payments"
    wait_until((quarantine / "_delta_log" / f"{1:020}.json").exists)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert pl.read_delta(str(quarantine)).height == 1_100, "the others are for later"
    (line,) = last_words(
        Flow("payments", settings | {"MILLSTREAM_STOP_AT_END": "true"}, tmp_path / "anew"), 1
    )
    assert "records in a row were refused, as many as MILLSTREAM_MAX_REJECT_RUN" in line
    assert "see why with millstream dlq summary" in line


def test_a_table_is_deleted_and_two_processes_start(
    stack: Stack, settings: dict[str, str], tmp_path: Path
) -> None:
    """The process that has the table says so; of the other it is said that one has ended."""
    send(stack, tmp_path.name, payments(0, 50))
    run("payments", settings | {"MILLSTREAM_STOP_AT_END": "true"}, tmp_path)
    shutil.rmtree(tmp_path / "tables" / "silver" / "payments")
    addresses = f"127.0.0.1:{lasting_port()};127.0.0.1:{lasting_port()}"
    flows = []
    for number in ("0", "1"):
        # A log of its own, and the recovery store of both.
        folder, state = tmp_path / number, str(tmp_path / "payments")
        arguments = ("-i", number, "-a", addresses, "-r", state)
        flows.append(Flow("payments", settings, folder, *arguments))
    lines = sorted((last_words(flow, 1) for flow in flows), key=lambda said: _PEER in said[0])
    assert [len(said) for said in lines] == [1, 1]
    assert "table silver/payments is behind the recovery store" in lines[0][0]
    assert lines[1][0].startswith(_PEER)


def test_a_backup_locks_the_recovery_store(
    stack: Stack, settings: dict[str, str], tmp_path: Path
) -> None:
    """Bytewax waits for 5 s and then panics."""
    send(stack, tmp_path.name, payments(0, 50))
    flow = Flow("payments", settings, tmp_path)
    wait_until(lambda: (tmp_path / "tables" / "silver" / "payments").is_dir())
    (file,) = (tmp_path / "payments").glob("part-*.sqlite3")
    with contextlib.closing(sqlite3.connect(file, timeout=10)) as store:
        store.execute("BEGIN IMMEDIATE")
        (line,) = last_words(flow, 1)
    assert "the recovery store cannot be used: database is locked" in line
    run("payments", settings | {"MILLSTREAM_STOP_AT_END": "true"}, tmp_path)

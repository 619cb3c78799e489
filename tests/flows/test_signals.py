"""A flow that is told to end does so whatever it is at, and the next start goes on there."""

import signal
import time
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from flows.streams import PAYMENTS
from ops.local import Stack
from ops.simulate import Params, simulate
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, run, wait_until
from tests.servers.ports import lasting_port

SOURCE = "operators.connectors.kafka.source"
SINK = "operators.connectors.delta.sink"
WRITER = "operators.connectors.delta.writer"
BEGIN = 1_600_000_000_000
TO_THE_END = {"MILLSTREAM_STOP_AT_END": "true"}
IN_SMALL_BATCHES = {"MILLSTREAM_BATCH_SIZE": "20"}


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """Settings of a flow that reads a topic of its own, of two partitions."""
    create_topic(stack.bootstrap, tmp_path.name, 2)
    return {
        **topics.settings(stack, tmp_path.name, tmp_path),
        "MILLSTREAM_FUTURE_BOUND": "36500d",  # the Kafka timestamps are made up
    }


def send(stack: Stack, topic: str, partitions: int = 2) -> int:
    """Send 4,000 payments, those of partition 0 an hour apart by their Kafka timestamps."""
    made = simulate(Params(payments=4_000, customers=500, terminals=500, partitions=partitions))
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    columns = ("partition", "key", "value")
    for number, (partition, key, value) in enumerate(made.records.select(columns).iter_rows()):
        apart = 1 if partition else 3_600_000
        producer.produce(topic, value, key, partition, timestamp=BEGIN + number * apart)
    producer.flush()
    return made.records.height


def read(root: Path) -> list[int]:
    """Return how many rows bronze has, and how many records they are of."""
    rows = pl.read_delta(str(root / "tables" / PAYMENTS.bronze.name))
    return [rows.height, rows.unique(["source_partition", "source_offset"]).height]


@pytest.mark.parametrize(
    ("point", "workers"),
    [
        ("operators.connectors.memory.settle", 1),  # the last thing before Bytewax
        ("operators.connectors.warm_source.WarmSource.build_part", 3),
        (f"{SINK}.DeltaSink.build_part", 1),
        (f"{SOURCE}._Partition._check_place", 3),  # no record has come
        (f"{SOURCE}._Partition._wait", 1),  # held back by another partition
        (f"{SOURCE}._Partition.snapshot", 3),  # one worker's epoch is over, the others' not
        (f"{WRITER}.Writer._write", 3),
    ],
)
def test_sigterm_ends_it_wherever_it_is_and_no_record_is_lost(
    stack: Stack, settings: dict[str, str], tmp_path: Path, point: str, workers: int
) -> None:
    """Of three workers one has no partition to read."""
    sent = send(stack, tmp_path.name)
    run("payments", settings | IN_SMALL_BATCHES, tmp_path, "-w", str(workers), at=point)
    run("payments", settings | TO_THE_END, tmp_path)
    assert read(tmp_path) == [sent, sent]


def test_sigterm_ends_it_when_one_worker_is_at_its_end_and_another_is_not(
    stack: Stack, settings: dict[str, str], tmp_path: Path
) -> None:
    sent = send(stack, tmp_path.name, partitions=1)
    bounded = settings | TO_THE_END | IN_SMALL_BATCHES
    run(
        "payments",
        bounded,
        tmp_path,
        "-w",
        "2",
        at="operators.connectors.shutdown.Shutdown.end",
    )
    assert read(tmp_path)[0] < sent
    run("payments", settings | TO_THE_END, tmp_path)
    assert read(tmp_path) == [sent, sent]


def test_processes_that_are_told_epochs_apart_all_end_well(
    stack: Stack, settings: dict[str, str], tmp_path: Path
) -> None:
    sent = send(stack, tmp_path.name)
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    flows = []
    try:
        for number in range(2):
            # They share the recovery store, and have logs of their own.
            cluster = ["-r", str(tmp_path / "payments"), "-i", str(number), "-a", addresses]
            flows.append(Flow("payments", settings, tmp_path / str(number), *cluster))
        wait_until(lambda: (tmp_path / "tables" / PAYMENTS.bronze.name).exists())
        flows[0].process.send_signal(signal.SIGTERM)
        time.sleep(2.5)
        assert [flow.tell(signal.SIGTERM) for flow in reversed(flows)] == [0, 0]
    finally:
        for flow in flows:
            flow.kill()
    run("payments", settings | TO_THE_END, tmp_path)
    assert read(tmp_path) == [sent, sent]


def test_sigterm_while_it_waits_for_kafka_ends_it_at_once(
    settings: dict[str, str], tmp_path: Path
) -> None:
    nowhere = {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{lasting_port()}"}
    flow = Flow("payments", settings | nowhere, tmp_path)
    wait_until(lambda: "waiting for Kafka" in flow.said())
    # It does not listen to signals yet.
    flow.process.send_signal(signal.SIGTERM)
    assert flow.wait(20) == -signal.SIGTERM

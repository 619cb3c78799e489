"""A topic of more partitions than there may be open files, were each to have a consumer."""

import os
import resource
import signal
from pathlib import Path

from confluent_kafka import Producer

from tests.field.topic import Field, payment
from tests.field.transactions import committed
from tests.running import wait_until
from tests.servers import kafka

PARTITIONS = 160
FILES = 192


def test_160_partitions_are_read_with_few_open_files(field: Field) -> None:
    field.create(PARTITIONS)
    for written in ("alerts", "decisions", "dlq"):
        kafka.create_topic(field.bootstrap, f"{field.topic}.{written}", 1)
    producer = Producer({"bootstrap.servers": field.bootstrap})
    for partition in range(PARTITIONS):
        producer.produce(field.topic, payment(partition), partition=partition)
    assert producer.flush(30) == 0
    flow = field.flow()
    everywhere = dict.fromkeys(range(PARTITIONS), 1)
    try:
        # It may raise the lower limit, and does.
        resource.prlimit(flow.process.pid, resource.RLIMIT_NOFILE, (128, FILES))
        wait_until(lambda: flow.process.poll() is not None or committed(field) == everywhere)
        assert flow.process.poll() is None, flow.said()
        process = Path(f"/proc/{flow.process.pid}")
        assert len(os.listdir(process / "fd")) < 90
        # Of Kafka's clients: how many the tables' writer has follows from what it has to do.
        assert 0 < threads(process, "rdk:") < 40
        assert flow.tell(signal.SIGTERM) == 0, flow.said()
    finally:
        flow.kill()
    rows = field.table("bronze/payments")
    assert sorted(rows["source_partition"]) == list(range(PARTITIONS))


def threads(process: Path, begins: str) -> int:
    """Return how many of the process's threads have a name that begins so."""
    names = [each.read_text() for each in process.glob("task/*/comm")]
    return sum(name.startswith(begins) for name in names)


def test_a_limit_of_files_that_is_too_small_is_told_at_the_start(field: Field) -> None:
    field.create()
    flow = field.flow()
    resource.prlimit(flow.process.pid, resource.RLIMIT_NOFILE, (80, 80))
    assert flow.wait() == 1
    assert "this process may have 80 files and sockets open, and needs 145" in flow.said()
    assert "ulimit -Hn 145" in flow.said()
    assert "Traceback" not in flow.said()

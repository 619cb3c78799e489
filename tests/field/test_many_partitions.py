"""A topic of more partitions than this process may open files for with a consumer for each."""

import os
import resource
import signal

from tests.field.topic import Field, payment
from tests.field.transactions import committed
from tests.running import wait_until

PARTITIONS = 160
FILES = 192


def test_160_partitions_are_read_with_few_open_files(field: Field) -> None:
    field.create(PARTITIONS)
    for partition in range(PARTITIONS):
        field.send(payment(partition), partition=partition)
    flow = field.flow()
    try:
        resource.prlimit(flow.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        everywhere = dict.fromkeys(range(PARTITIONS), 1)
        wait_until(lambda: flow.process.poll() is not None or committed(field) == everywhere)
        assert flow.process.poll() is None, flow.said()
        print(
            len(os.listdir(f"/proc/{flow.process.pid}/fd")),
            len(os.listdir(f"/proc/{flow.process.pid}/task")),
            flow.said(),
        )
        assert flow.tell(signal.SIGTERM) == 0, flow.said()
    finally:
        flow.kill()
    rows = field.table("bronze/payments")
    assert sorted(rows["source_partition"]) == list(range(PARTITIONS))


def test_a_limit_of_files_that_is_too_small_is_told_at_the_start(field: Field) -> None:
    field.create()
    flow = field.flow()
    resource.prlimit(flow.process.pid, resource.RLIMIT_NOFILE, (80, 80))
    assert flow.wait() == 1
    assert "this process may have 80 files and sockets open, and needs 145" in flow.said()
    assert "Traceback" not in flow.said()

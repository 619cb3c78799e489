"""Transactional producers, retention, and what lag tools see: offsets that are no records."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from operators.connectors.kafka.client import read_to_end
from tests.field.topic import Field, offsets, payments
from tests.field.transactions import Transactions, committed, delete_before, ends
from tests.running import Flow, wait_until

BRONZE = "bronze/payments"


@contextmanager
def running(field: Field, **settings: str) -> Iterator[Flow]:
    """Run a flow for the length of a block, then let it end as Ctrl-C does."""
    flow = field.flow(**settings)
    try:
        yield flow
        assert flow.process.poll() is None, flow.said()
        assert flow.tell(signal.SIGTERM) == 0, flow.said()
    finally:
        flow.kill()


def test_retention_behind_a_transactional_topic_that_was_read_is_no_loss(field: Field) -> None:
    """Behind the last record are a marker, aborted records and another marker."""
    field.create(2)
    sender = Transactions(field)
    sender.commit(*payments(0, 4))
    sender.abort(*payments(100, 102))
    # An empty partition that begins above 0.
    field.send(*payments(200, 203), partition=1)
    delete_before(field, 4, partition=1)
    assert ends(field, 2) == {0: 10, 1: 4}
    with running(field):
        wait_until(lambda: committed(field) == {0: 10, 1: 4})  # lag is 0
    assert offsets(field.table(BRONZE)) == [0, 1, 2, 3, 4]
    delete_before(field, 10)
    with running(field) as flow:
        sender.commit(*payments(5, 6))
        sender.abort(*payments(103, 103))
        field.send(*payments(7, 7), partition=1)
        wait_until(lambda: flow.process.poll() is not None or committed(field)[0] == 15)
        field.send(*payments(8, 8), partition=1)
        wait_until(lambda: flow.process.poll() is not None or len(field.table(BRONZE)) == 9)
    assert offsets(field.table(BRONZE)) == [0, 1, 2, 3, 4, 10, 11]
    assert offsets(field.table(BRONZE), partition=1) == [4, 5]
    # Not one epoch behind: the flow has ended.
    assert committed(field) == ends(field, 2) == {0: 15, 1: 6}
    assert "gone" not in flow.said()


def test_latest_with_an_open_transaction_reads_what_it_commits(field: Field) -> None:
    field.create()
    sender = Transactions(field)
    field.send(*payments(100, 103))
    sender.begin(*payments(0, 2))
    field.send(*payments(3, 3))
    assert ends(field, stable=True) == {0: 4} != ends(field)
    with running(field, START="latest"):
        wait_until(lambda: committed(field) == {0: 4})
        sender.end()
        wait_until(lambda: committed(field) == ends(field) == {0: 9})
    assert offsets(field.table(BRONZE)) == [4, 5, 6, 7]


def test_a_short_bounded_run_leaves_the_group_at_the_end(field: Field) -> None:
    field.create()
    sender = Transactions(field)
    sender.commit(*payments(0, 3))
    sender.abort(*payments(100, 101))
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert committed(field) == ends(field) == {0: 8}


def test_what_a_kill_replays_is_there_once_between_markers_and_aborted_records(
    field: Field,
) -> None:
    field.create()
    sender, over = Transactions(field), threading.Event()

    def send() -> None:
        for n in range(0, 1_000_000, 4):
            if over.is_set():
                return
            (sender.abort if n % 3 == 0 else sender.commit)(*payments(n, n + 3))
            time.sleep(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        seen = 0
        for _ in range(2):
            flow = field.flow()
            wait_until(lambda: committed(field).get(0, 0) > seen + 20)  # noqa: B023 # now
            time.sleep(0.4)
            flow.kill()
            seen = committed(field)[0]
    finally:
        over.set()
        thread.join()
    with running(field):
        wait_until(lambda: committed(field) == ends(field))
    there = read_to_end({"bootstrap.servers": field.bootstrap}, field.topic, {0: 0})
    assert offsets(field.table(BRONZE)) == [message.offset() for message in there]


def test_retention_that_takes_unread_records_is_refused(field: Field) -> None:
    field.create()
    field.send(*payments(0, 3))
    with running(field):
        wait_until(lambda: committed(field) == {0: 4})
    field.send(*payments(4, 5))
    delete_before(field, 5)
    flow = field.flow()
    assert flow.wait() == 1
    assert "offset 4 is not in the topic" in flow.said()
    assert "Traceback" not in flow.said()

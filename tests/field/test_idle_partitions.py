"""A partition that brings no events holds nobody up; one that is behind does, and is named."""

import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import polars as pl
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from ops.verify import verify
from tests.field.topic import NOON, Field, offsets, payment, payments
from tests.running import Flow, wait_until
from tests.servers.ports import lasting_port

HELD = re.compile(r'millstream_watermark_held_seconds{partition="(\d)",[^}]*} (\S+)')


class Traffic:
    """Payments of partition 0, ten seconds of event time every 0.1 s, for as long as it runs.

    Meanwhile refused records come to partition 1, and to partition 2 the same payment again.
    """

    def __init__(self, field: Field) -> None:
        self.field, self.now, self.sent, self.refused = field, 0, 0, 0
        self._refuse, self._paused = True, threading.Event()

    def pause(self) -> None:
        """Let no refused records come any more; returns when the last one has been sent."""
        self._refuse = False
        assert self._paused.wait(60)

    def run(self, stop: threading.Event) -> None:
        for number in count(0, 10):
            if stop.wait(0.1):
                return
            self.field.send(payment(number))
            self.field.send(payment(0), partition=2)
            self.now, self.sent = number, self.sent + 2
            if not self._refuse:
                self._paused.set()
            else:
                self.field.send(b"no payment", partition=1)
                self.refused, self.sent = self.refused + 1, self.sent + 1


@contextmanager
def traffic(field: Field) -> Iterator[Traffic]:
    made, stop = Traffic(field), threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()


def closed(field: Field) -> int:
    """Return up to which second after noon windows of a minute are in gold."""
    path = str(field.folder / "tables" / "gold/terminal_minute")
    if not DeltaTable.is_deltatable(path):
        return 0
    last = pl.scan_delta(path).select(pl.col("window_end").max()).collect().item()
    return 0 if last is None else int((last - NOON).total_seconds())


def bronze(field: Field) -> int:
    return field.table("bronze/payments").height


def held(port: int) -> dict[int, float]:
    """Return for how long each partition has held up the flow, as its metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return {int(p): float(s) for p, s in HELD.findall(answer.read().decode())}


def test_refused_and_repeated_records_alone_hold_no_window_open_but_an_open_transaction_does(
    field: Field,
) -> None:
    """Whoever holds up the flow is named, in its metrics and, if that lasts, in its log."""
    port = lasting_port()
    field.create(3)
    field.settings |= {
        "MILLSTREAM_IDLE_TIMEOUT": "1s",
        "MILLSTREAM_MAX_REJECT_RATIO": "1",
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
    }
    flow = Flow(
        "payments",
        field.settings,
        field.folder / "state",
        altered="operators.event_time.holdup.PATIENCE=2",
    )
    try:
        with traffic(field) as made:
            wait_until(lambda: closed(field) > 0)
            # Before the first epoch's end the topic's ends may not be known on a slow machine.
            began, before = closed(field), flow.said()
            wait_until(lambda: closed(field) > began)
            assert "the flow's watermark stands" not in flow.said().removeprefix(before)

            made.pause()
            producer = Producer(
                {"bootstrap.servers": field.bootstrap, "transactional.id": field.topic}
            )
            producer.init_transactions()
            producer.begin_transaction()
            opened = made.now
            # Further ahead than the others come before the flow knows of them.
            for value in payments(opened + 50_000, opened + 50_002):
                producer.produce(field.topic, value, partition=1)
            producer.flush()
            wait_until(lambda: "a transaction is open" in flow.said())
            assert max(held(port), key=held(port).__getitem__) == 1
            stood, read = closed(field), bronze(field)
            time.sleep(2.5)  # more than the idle timeout
            wait_until(lambda: bronze(field) > read)
            assert closed(field) == stood
            producer.commit_transaction()
            # Its events are ahead of all others: from now on these are waited for.
            wait_until(lambda: "the flow's watermark goes on after" in flow.said())
            wait_until(lambda: closed(field) > stood)
        sent = made.sent + 3
        wait_until(lambda: bronze(field) == sent)
        assert f"wait, for {field.topic}/1: behind offset {made.refused - 1} a" in flow.said()
        assert flow.tell(signal.SIGTERM) == 0, flow.said()
    finally:
        flow.kill()
    assert field.table("gold/late").is_empty()
    assert len(offsets(field.table("silver/payments"), 1)) == 3
    report = verify(settings_.load(field.settings))
    assert report.ok, [check for check in report.checks if not check.ok]


def test_a_partition_without_records_holds_no_windows_open_if_the_topic_is_run_now_and_then(
    field: Field,
) -> None:
    """Each run is shorter than the idle timeout: what counts is how long there was no event."""
    field.create(2)
    for first in (0, 300):
        field.send(*payments(first, first + 299))
        flow = field.flow(STOP_AT_END="true", IDLE_TIMEOUT="4s")
        assert flow.wait() == 0, flow.said()
        time.sleep(max(0.0, 4.0 - first))
    # Up to the watermark, 30 s behind the last payment, the 599th.
    assert closed(field) == 540

"""What a flow says of itself: what it reads, from where, what it writes to, how far it is."""

import re
import signal
import time
from pathlib import Path

from confluent_kafka import Producer

from ops.local import Stack
from ops.topics import create_topic
from tests import topics
from tests.field.topic import payments
from tests.running import Flow, wait_until


def said(flow: Flow, pattern: str) -> str:
    """Return the first match in what the flow says, for which it is waited."""
    try:
        wait_until(lambda: flow.process.poll() is not None or re.search(pattern, flow.said()))
    except AssertionError:
        flow.kill()
    found = re.search(pattern, flow.said())
    assert found, flow.said()
    return found[0]


def test_a_flow_says_what_it_reads_where_it_begins_and_how_far_it_is(
    stack: Stack, tmp_path: Path
) -> None:
    topic = tmp_path.name
    create_topic(stack.bootstrap, topic, 2)
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})

    def send(*values: bytes, partition: int = 0) -> None:
        for value in values:
            producer.produce(topic, value, partition=partition)
        assert producer.flush(30) == 0

    send(*payments(0, 59), *payments(50, 59), b"no payment")
    send(*payments(60, 79), partition=1)
    settings = topics.settings(stack, topic, tmp_path) | {"MILLSTREAM_REPORT_EVERY": "1s"}

    flow = Flow("payments", settings, tmp_path)
    said(flow, r"INFO millstream.flow: payments: flow of Millstream \d\S+, one process\n")
    said(
        flow, rf"reads topic {topic}, 2 partitions, from its beginning: 91 offsets to its end\n"
    )
    tables = re.escape(str(tmp_path / "tables"))
    said(
        flow,
        rf"writes tables under {tables} and topics {topic}.dlq, {topic}.alerts, "
        rf"{topic}.decisions; 6 rules\n",
    )
    said(flow, rf"recovery store {re.escape(str(tmp_path / 'payments'))}\n")
    said(flow, r"payments: [1-9]\d* records in \d+ s \(\d+/s\), ")
    said(
        flow,
        r"payments: nothing new in \d+ s; 91 records since the start; 0 to read; "
        rf"watermark 2026-03-01 12:0\d UTC, [\d,]+ \S+ (behind|ahead of) the clock \({topic}/0\)",
    )
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    said(
        flow,
        r"ended after \d+ \w+: 91 records read, 1 reject, 10 duplicates, [1-9]\d* table commits\n",
    )
    assert "no payment" not in flow.said()

    send(*payments(80, 82), partition=1)
    began = time.monotonic()
    flow = Flow("payments", settings, tmp_path / "again", "-r", str(tmp_path / "payments"))
    said(
        flow,
        rf"reads topic {topic}, 2 partitions, from the recovery store's offsets on "
        r"\(0: 71, 1: 20\): 3 offsets to its end\n",
    )
    said(flow, r"payments: [1-3] records? in \d+ s \(\d+/s\)")
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    # Of a log at one line every so often, none is in between.
    assert flow.said().count(" since the start; ") <= time.monotonic() - began


def test_a_flow_without_recovery_says_that_it_begins_anew_each_time(
    stack: Stack, tmp_path: Path
) -> None:
    create_topic(stack.bootstrap, tmp_path.name, 1)
    settings = topics.settings(stack, tmp_path.name, tmp_path)
    flow = Flow("alerts", settings, tmp_path, recovery=False)
    said(flow, rf"writes topics {tmp_path.name}.alerts, {tmp_path.name}.decisions; 6 rules\n")
    said(flow, r"WARNING millstream.flow: no recovery directory \(-r\): ")
    assert flow.tell(signal.SIGTERM) == 0, flow.said()

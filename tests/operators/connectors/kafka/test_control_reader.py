"""The reader of a control topic, on a broker: what it knows, and through which time."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka import control_reader, control_topic
from operators.connectors.kafka.control_reader import ControlError, ControlReader
from operators.connectors.kafka.control_topic import ControlTopicError
from operators.connectors.shutdown import Shutdown
from operators.control.changes import SLACK, written
from ops.local import Stack
from tests.operators.rules.samples import rule
from tests.servers import kafka

Sent = Callable[..., None]


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"control-{request.node.name}-{time.time_ns()}".replace("[", "").replace("]", "")


@pytest.fixture
def config(stack: Stack) -> dict[str, str]:
    return {"bootstrap.servers": stack.bootstrap}


def now() -> int:
    return time.time_ns() // 1000


def set_to(value: float) -> tuple[bytes, bytes]:
    return written("threshold", "review", value, "who", "why")


def test_what_is_sent_before_the_time_that_is_waited_for_is_known_and_kept_once(
    config: dict[str, str], topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    identity = control_topic.ensure(config, topic, 10)
    assert control_topic.ensure(config, topic, 10) == identity
    misfit = written("rule", "r", rule(), "who", "why")
    known = [set_to(1), (b"threshold/review", b"{"), (b"rule/q", misfit[1]), misfit]
    assert control_topic.send(config, topic, known, 10) == [0, 1, 2, 3]
    kept: list[int] = []
    refused = {"r": "does not fit"}
    reader = ControlReader(
        config,
        topic,
        identity,
        lambda each: refused.get(each.id),
        keep=lambda records: kept.extend(each.offset for each in records),
    )
    reader.start(10)
    assert [each.content for each in reader.state.changes] == [1.0]
    assert kept == [0, 1, 2, 3]
    for why in ("offset 1 changes nothing: its value is no JSON",
                "offset 2 changes nothing: its key is not rule/r",
                "offset 3 changes nothing: does not fit"):  # fmt: skip
        assert why in caplog.text
    # Steady: nobody waits for what the clock has come to.
    began = time.monotonic()
    reader.wait(now() - SLACK)
    for value in range(2, 6):
        control_topic.send(config, topic, [set_to(value)], 10)
        reader.wait(now() + SLACK)
        assert reader.state.changes[-1].content == value
    assert time.monotonic() - began < 60
    assert kept == list(range(8))
    assert "came after" not in caplog.text

    # Another one that has a history begins behind it, and takes that first.
    history = [
        control_reader.ControlRecord(
            each.offset, each.time, each.key.encode(), each.value, identity
        )
        for each in reader.state.changes[:2]
    ]
    other = ControlReader(config, topic, identity, lambda _: None, history, kept.append)
    other.start(10)
    assert [each.content for each in other.state.changes] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [each.offset for each in kept[-1]] == [5, 6, 7]


def test_a_change_that_comes_too_late_and_a_wait_in_vain_are_told(
    config: dict[str, str],
    topic: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka.create_topic(config["bootstrap.servers"], topic, 1)  # of its sender's clock
    reader = ControlReader(
        config, topic, control_topic.ensure(config, topic, 10), lambda _: None
    )
    reader.start(10)
    reader.wait(now())
    producer = Producer(config)
    key, value = set_to(1)
    producer.produce(topic, value, key, timestamp=now() // 1000 - 60_000)
    producer.flush(10)
    reader.wait(now() + SLACK)
    assert "the change at offset 0 came after" in caplog.text
    stopping = Shutdown()
    stopping.requested = True
    monkeypatch.setattr(control_reader, "SHUTDOWN", stopping)
    with pytest.raises(ControlError, match="told to end while waiting"):
        reader.wait(now() + 10**9)
    assert "ahead of this machine's clock" not in caplog.text


def test_a_topic_whose_changes_have_no_order_is_refused(
    config: dict[str, str], topic: str
) -> None:
    kafka.create_topic(config["bootstrap.servers"], topic, 2)
    with pytest.raises(ControlTopicError, match="2 partitions, between which"):
        control_topic.ensure(config, topic, 10)

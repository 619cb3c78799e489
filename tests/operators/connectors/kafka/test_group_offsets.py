"""Offsets for lag tools, against the local broker."""

import logging
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from operators.connectors.kafka.group_offsets import GroupOffsets
from ops.processes import free_port
from tests.running import wait_until


@pytest.fixture
def committed(stack, topic):
    client = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": f"{topic}-tools"})

    def committed() -> list[int]:
        asked = [TopicPartition(topic, partition) for partition in (0, 1)]
        return [place.offset for place in client.committed(asked, 5)]

    yield committed
    client.close()


@pytest.fixture
def offsets(stack, topic) -> GroupOffsets:
    return GroupOffsets({"bootstrap.servers": stack.bootstrap}, topic, f"{topic}-tools")


def test_what_is_durable_is_committed_and_no_more(offsets, committed):
    offsets.reached(0, 5)
    offsets.reached(1, 7)
    offsets.send()
    assert max(committed()) < 0
    offsets.durable(0)
    offsets.reached(0, 6)
    offsets.send()
    wait_until(lambda: committed()[0] == 5, 10)
    assert committed()[1] < 0
    offsets.durable(0)
    offsets.durable(1)
    wait_until(lambda: offsets.send() or committed() == [6, 7], 10)


def test_a_position_that_is_not_known_is_none(offsets, committed):
    offsets.reached(0, None)
    offsets.durable(0)
    offsets.send()
    offsets.finish(5)
    assert max(committed()) < 0


def test_at_the_end_of_a_good_run_the_last_snapshots_are_committed(offsets, committed):
    offsets.reached(0, 5)
    offsets.reached(1, 7)
    offsets.finish(5)
    assert committed() == [5, 7]


def test_without_brokers_the_end_waits_no_longer_than_it_may_and_says_why_once(topic, caplog):
    caplog.set_level(logging.WARNING, "millstream")
    nowhere = {
        "bootstrap.servers": f"127.0.0.1:{free_port()}",
        # As long the client's end waits for what was not answered; it is 45 s else, of a full core.
        "session.timeout.ms": 6_000,
    }
    offsets = GroupOffsets(nowhere, topic, "tools")
    offsets.reached(0, 5)
    began = time.monotonic()
    offsets.finish(0.5)
    offsets.finish(0.5)
    assert time.monotonic() - began < 5
    said = [line for line in caplog.messages if "offsets not committed" in line]
    assert len(said) == 1

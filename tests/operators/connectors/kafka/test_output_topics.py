"""Against the local broker; what only Apache Kafka refuses is in the field's tests."""

import time

import pytest

from operators.connectors.kafka.client import (
    KafkaUnavailableError,
    admin_client,
    wait_for_partitions,
)
from operators.connectors.kafka.output_topics import ensure
from ops.processes import free_port


def test_a_topic_that_is_missing_is_made_and_one_that_is_there_keeps_its_partitions(
    stack, topic
):
    config = {"bootstrap.servers": stack.bootstrap}
    assert ensure(config, topic, 5, 10) == [0, 1]
    for _ in range(2):
        assert ensure(config, f"{topic}-new", 3, 10) == [0, 1, 2]


def test_brokers_that_do_not_answer_are_waited_for(caplog):
    began = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match=r"^Kafka at .* refused \(tried for \d s\)"):
        ensure({"bootstrap.servers": f"127.0.0.1:{free_port()}"}, "alerts", 1, 2)
    assert time.monotonic() - began < 10
    assert len([line for line in caplog.messages if "waiting for Kafka at" in line]) == 1


def test_to_wait_for_a_topic_does_not_make_it(stack):
    """A mistyped name would be an empty topic, read for ever without a word."""
    config = {"bootstrap.servers": stack.bootstrap}
    with pytest.raises(KafkaUnavailableError, match="topic 'paymnets'"):
        wait_for_partitions(config, "paymnets", 1)
    assert "paymnets" not in admin_client(config).list_topics(timeout=5).topics

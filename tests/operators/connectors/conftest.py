"""A topic of one's own on the local broker, partitions of a source that reads it, a Redis."""

import itertools

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.source import KafkaSource
from operators.connectors.shutdown import Shutdown
from ops.topics import create_topic
from tests.servers import redis

_names = (f"topic-{i}" for i in itertools.count())


@pytest.fixture
def topic(stack) -> str:
    name = next(_names)
    create_topic(stack.bootstrap, name, 2)
    return name


@pytest.fixture
def send(stack, topic):
    producer = Producer({"bootstrap.servers": stack.bootstrap, "linger.ms": 0})

    def send(*values: bytes | None, partition: int = 0, **more):
        for value in values:
            producer.produce(topic, value, partition=partition, **more)
        assert producer.flush(10) == 0

    return send


@pytest.fixture
def open_part(stack, topic):
    parts = []

    def open_part(state=None, partition=0, **settings):
        config = {"bootstrap.servers": stack.bootstrap}
        source = KafkaSource(config, topic, [0, 1], **{"shutdown": Shutdown()} | settings)
        parts.append(source.build_part("in", f"{topic}/{partition}", state))
        return parts[-1]

    yield open_part
    for part in parts:
        part.close()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with redis.redis(tmp_path_factory.mktemp("redis")) as running:
        yield running

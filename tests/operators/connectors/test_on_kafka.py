"""Against Apache Kafka: what the local broker cannot do."""

import itertools
import logging

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from operators.batches import Progress
from operators.connectors.kafka import read_to_end
from operators.connectors.kafka_sink import KafkaSink
from operators.connectors.outgoing import Outgoing
from tests.servers import kafka

# CI refuses this skip where java and mvn are there.
pytestmark = pytest.mark.skipif(kafka.missing() is not None, reason=str(kafka.missing()))

_names = (f"on-kafka-{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with kafka.bootstrap(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def config(servers) -> dict[str, str]:
    return {"bootstrap.servers": servers}


@pytest.fixture
def topic(servers) -> str:
    name = next(_names)
    kafka.create_topic(servers, name, 2)
    return name


def delete_before(config, topic, partition: int, offset: int) -> None:
    """Delete a partition's records before an offset, as retention does."""
    admin = AdminClient(config)  # its answers need it to live
    for future in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
        future.result(10)


# --- the sink -------------------------------------------------------------------------------


@pytest.fixture
def start(config, topic, caplog):
    def start(state=None):
        caplog.clear()
        return KafkaSink(config, {topic: [0, 1]}).build_part("out", topic, state)

    caplog.set_level(logging.WARNING, "millstream")
    return start


def alerts(*offsets: int) -> list[Outgoing]:
    # Of one key, so that all are in one partition of the topic.
    return [Outgoing(f"r/0/{o}", ("payments", 0, o), b"card", b"v") for o in offsets]


def sent(config, topic) -> list[str]:
    found = read_to_end(config, topic, {0: 0, 1: 0}, timeout=5)
    return sorted(dict(message.headers())["millstream.id"].decode() for message in found)


def declared(caplog) -> list[str]:
    return [line for line in caplog.messages if "at least once" in line]


def lives(part, offset: int, *offsets: int) -> dict:
    """Let the part send messages and come to an offset; returns its snapshot."""
    part.write_batch([alerts(*offsets), Progress("payments", 0, 1, offset)])
    return part.snapshot()


def test_ids_that_retention_deleted_are_declared_and_sent_at_least_once(
    config, topic, start, caplog
):
    part = start()
    state = lives(part, 1, 0, 1)
    lives(part, 3, 2, 3)  # sent, but the recovery store never knew
    (place,) = (p for p, end in part._ends.items() if end)
    delete_before(config, topic, place, 3)
    again = start(state)
    (line,) = declared(caplog)
    assert f"{topic}/{place}: at least once" in line
    assert "offsets 2 to 2 were deleted" in line
    assert "retention.ms" in line
    state = lives(again, 4, 2, 3, 4)
    # 2 was sent before and again; 3 was still there to be read, and is not.
    assert sent(config, topic) == ["r/0/2", "r/0/3", "r/0/4"]
    start(state)
    assert declared(caplog) == [], "said at each start that has lost something, and no other"


def test_all_ids_deleted_are_declared_once_though_nothing_is_sent_after(
    config, topic, start, caplog
):
    part = start()
    state = lives(part, 0, 0)
    lives(part, 2, 1, 2)
    (place,) = (p for p, end in part._ends.items() if end)
    delete_before(config, topic, place, 3)
    again = start(state)
    (line,) = declared(caplog)
    assert "offsets 1 to 2 were deleted" in line
    state = again.snapshot()
    assert state["ends"] == {place: 3, 1 - place: 0}
    start(state)
    assert declared(caplog) == []


def test_what_retention_deletes_before_the_snapshot_is_no_loss(config, topic, start, caplog):
    part = start()
    state = lives(part, 2, 0, 1, 2)
    (place,) = (p for p, end in part._ends.items() if end)
    delete_before(config, topic, place, 3)
    lives(part, 4, 3, 4)
    lives(start(state), 4, 3, 4)
    assert declared(caplog) == []
    assert sent(config, topic) == ["r/0/3", "r/0/4"]

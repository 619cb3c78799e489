"""Against Apache Kafka: what the local broker cannot do."""

import itertools
import logging

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from operators.connectors.kafka.client import headers_of, read_to_end
from operators.connectors.kafka.outgoing import Outgoing, left_out_header
from operators.connectors.kafka.sink import KafkaSink
from operators.connectors.kafka.topic_ids import identify
from operators.records.batches import Progress
from tests.field import raw_record
from tests.servers import kafka

LIMIT = {"max.message.bytes": "2000"}

_names = (f"on-kafka-{i}" for i in itertools.count())


@pytest.fixture
def config(apache) -> dict[str, str]:
    return {"bootstrap.servers": apache}


@pytest.fixture
def topic(apache) -> str:
    name = next(_names)
    kafka.create_topic(apache, name, 2)
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
    found = read_to_end(config, topic, {0: 0, 1: 0}, timeout=30)
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


# --- a topic that was made anew -----------------------------------------------------------------


def test_a_topic_made_anew_is_read_from_its_beginning_and_not_from_the_old_ones_end(
    config, topic, caplog
):
    """Behind the old end lie messages that the replay makes again: it would send them twice."""

    def start(state):
        identities = identify(config, [topic], 10)
        return KafkaSink(config, {topic: [0, 1]}, identities).build_part("out", topic, state)

    part = start(None)
    state = lives(part, 2, 0, 1, 2)
    admin = AdminClient(config)
    for done in admin.delete_topics([topic], operation_timeout=30).values():
        done.result(30)
    kafka.create_topic(config["bootstrap.servers"], topic, 2)
    # Sent to the new topic, but the recovery store never knew: 3 to 9 will be made again.
    lives(start(state), 9, *range(3, 10))
    caplog.clear()
    again = start(state)
    (line,) = [each for each in caplog.messages if "made anew" in each]
    assert line.startswith(f"topic {topic} was made anew: it is read from its beginning")
    state = lives(again, 10, *range(3, 11))
    assert sent(config, topic) == sorted(f"r/0/{offset}" for offset in range(3, 11))
    caplog.clear()
    start(state)
    assert not caplog.messages


def test_a_state_that_knows_the_topics_name_alone_takes_up_which_one_it_is(config, topic):
    identities = identify(config, [topic], 10)
    sink = KafkaSink(config, {topic: [0, 1]}, identities)
    state = lives(sink.build_part("out", topic, None), 2, 0, 1, 2)
    old = {"version": 1, "ends": state["ends"]}
    part = sink.build_part("out", topic, old)
    assert part._sent == {}, "it goes on behind the ends that it knew"
    assert part.snapshot() == state == old | {"version": 2, "topic": identities[topic]}


# --- messages that are too large ----------------------------------------------------------------


def test_batches_that_the_topic_finds_too_large_go_out_whole_message_by_message(config, topic):
    """The broker refuses all of a batch; none of its messages is too large by itself."""
    name = f"{topic}-small"
    kafka.create_topic(config["bootstrap.servers"], name, 1, **LIMIT)
    part = KafkaSink(config, {name: [0]}).build_part("out", name, None)
    outgoing = [Outgoing(f"r/{o}", ("payments", 0, o), b"k", b"v" * 200) for o in range(50)]
    part.write_batch([outgoing, Progress("payments", 0, 1, 49)])
    state = part.snapshot()
    found = list(read_to_end(config, name, {0: 0}, timeout=30))
    assert state["ends"] == {0: len(found)} == {0: 50}
    assert {message.value() for message in found} == {b"v" * 200}
    assert len({headers_of(message)["millstream.id"] for message in found}) == 50


def test_what_it_finds_too_large_goes_out_in_the_same_epoch_and_is_known_at_a_restart(
    config, topic
):
    name = f"{topic}-small"
    kafka.create_topic(config["bootstrap.servers"], name, 1, **LIMIT)
    sink = KafkaSink(config, {name: [0]})
    part = sink.build_part("out", name, None)
    state = part.snapshot()
    huge = Outgoing(
        "huge", ("payments", 0, 0), b"k" * 2_100, b"v" * 2_300, (), (("h", b"h" * 2_200),)
    )
    part.write_batch([[huge], Progress("payments", 0, 1, 0)])
    part.snapshot()
    again = sink.build_part("out", name, state)
    again.write_batch([[huge], Progress("payments", 0, 1, 0)])
    again.snapshot()
    (message,) = read_to_end(config, name, {0: 0}, timeout=30)
    assert (message.key(), message.value()) == (None, None)
    headers = headers_of(message)
    sizes = {"value": b"2300", "headers": b"2201", "key": b"2100"}
    assert all(headers[left_out_header(part)].split()[0] == n for part, n in sizes.items())
    assert "h" not in headers


def test_messages_of_others_whose_header_names_are_not_utf8_are_left_alone(config, topic):
    """No fake will do: the client says it otherwise than its documentation."""
    raw_record.send(config["bootstrap.servers"], topic, b"theirs", [(b"\xff", b"1")])
    part = KafkaSink(config, {topic: [0, 1]}).build_part("out", topic, None)
    assert sum(lives(part, 1, 0, 1)["ends"].values()) == 3


def test_what_is_sent_is_seen_behind_a_transaction_that_somebody_else_has_open(
    config, topic, start
):
    part = start()
    state = lives(part, 0, 0)
    somebody = Producer({**config, "transactional.id": topic})
    somebody.init_transactions(30)
    somebody.begin_transaction()
    for partition in (0, 1):
        somebody.produce(topic, b"theirs", partition=partition)
    assert somebody.flush(30) == 0
    lives(part, 2, 1, 2)  # sent, but the recovery store never knew
    lives(start(state), 2, 1, 2)
    somebody.abort_transaction(30)
    assert sent(config, topic) == ["r/0/0", "r/0/1", "r/0/2"]

"""Against the local broker."""

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka import sink as kafka_sink
from operators.connectors.kafka.client import read_to_end
from operators.connectors.kafka.outgoing import Outgoing, left_out_header
from operators.connectors.kafka.producer import DeliveryError
from operators.connectors.kafka.sink import KafkaSink
from operators.records.batches import Progress
from ops.local import start_broker
from ops.topics import create_topic


@pytest.fixture
def config(stack) -> dict[str, str]:
    # Idempotence costs half a second a start, and one test below does without this.
    return {"bootstrap.servers": stack.bootstrap, "enable.idempotence": "false"}


@pytest.fixture
def start(config, topic):
    return lambda state=None: KafkaSink(config, {topic: [0, 1]}).build_part("out", topic, state)


def messages(*offsets: int, rule="r", partition=0) -> list[Outgoing]:
    return [
        Outgoing(
            f"{rule}/{partition}/{o}", ("payments", partition, o), f"card-{o}".encode(), b"v"
        )
        for o in offsets
    ]


def progress(offset: int, partition=0) -> Progress:
    return Progress("payments", partition, 2, offset)


def sent(config, topic) -> list[str]:
    """The ids in the topic, sorted."""
    return sorted(
        dict(message.headers())["millstream.id"].decode()
        for message in read_to_end(config, topic, {0: 0, 1: 0}, timeout=30)
    )


def ids(*offsets: int, rule="r", partition=0) -> list[str]:
    return sorted(f"{rule}/{partition}/{o}" for o in offsets)


def test_a_message_goes_out_with_its_id_and_its_record(config, topic, start):
    part = start()
    part.write_batch(
        [[Outgoing("id-1", ("pay/ments", 3, 17), None, None, (("h", b"\xff"), ("none", None)))]]
    )
    part.snapshot()
    (message,) = read_to_end(config, topic, {0: 0, 1: 0}, timeout=30)
    assert (message.key(), message.value()) == (None, None)
    assert message.headers() == [
        ("h", b"\xff"), ("none", None),
        ("millstream.id", b"id-1"), ("millstream.source", b"pay/ments/3/17"),
    ]  # fmt: skip


def test_what_a_replay_makes_again_is_skipped(config, topic, start):
    part = start()
    part.write_batch([messages(0, 1), progress(1)])
    state = part.snapshot()
    part.write_batch([messages(2, 3), messages(2, rule="other"), progress(3)])
    part.snapshot()  # sent, but the recovery store never knew
    again = start(state)
    # Other batches, another order, and one more record.
    again.write_batch([messages(2, rule="other"), messages(3)])
    again.write_batch([messages(2), messages(4), progress(4)])
    again.snapshot()
    assert sent(config, topic) == ids(2, rule="other") + ids(0, 1, 2, 3, 4)


def test_what_other_slices_send_is_for_them_to_skip(config, topic, start, monkeypatch):
    theirs = start()
    theirs.write_batch([messages(0, 1, partition=1), progress(1, 1)])
    theirs.snapshot()
    mine = {"payments": [0], "control": []}
    part = KafkaSink(config, {topic: [0, 1]}, mine=mine).build_part("out", topic, None)
    part.write_batch([messages(0), progress(0)])
    state = part.snapshot()
    assert sum(state["ends"].values()) == 3, "it waits for none of theirs"
    theirs.write_batch([messages(2, 3, partition=1), progress(3, 1)])
    theirs.snapshot()
    assert part.snapshot() == state
    # Now and then it looks, so that a start need not read all that is theirs.
    monkeypatch.setattr(part, "_look_at", 0.0)
    assert sum(part.snapshot()["ends"].values()) == 5
    again = KafkaSink(config, {topic: [0, 1]}, mine=mine).build_part("out", topic, state)
    again.write_batch([messages(0, 1), progress(1)])
    assert sent(config, topic) == sorted(ids(0, 0, 1) + ids(0, 1, 2, 3, partition=1))


def test_also_when_a_second_crash_cuts_the_replay_short(config, topic, start):
    part = start()
    state = part.snapshot()
    part.write_batch([messages(0, 1, 2, 3), messages(0, 1, partition=1), progress(3)])
    part.snapshot()
    cut = start(state)
    cut.write_batch([messages(0, 1), progress(1)])
    state = cut.snapshot()  # this one is durable
    cut.write_batch([messages(2), progress(2)])
    cut.snapshot()  # this one is not
    last = start(state)
    last.write_batch(
        [messages(2, 3, 4), messages(0, 1, 2, partition=1), progress(4), progress(2, 1)]
    )
    state = last.snapshot()
    assert sent(config, topic) == ids(0, 1, 2, 3, 4) + ids(0, 1, 2, partition=1)
    # All is behind us: the next start has nothing to skip.
    assert start(state)._sent == {}


def test_a_start_with_an_empty_recovery_store_skips_what_is_there(config, topic, start):
    part = start()
    part.write_batch([messages(*range(50)), progress(49)])
    part.snapshot()
    anew = start()
    anew.write_batch([messages(*range(60)), progress(59)])
    anew.snapshot()
    assert sent(config, topic) == ids(*range(60))


def test_where_the_next_start_reads_moves_on_with_every_durable_epoch(topic, start):
    part = start()
    assert part.snapshot()["ends"] == {0: 0, 1: 0}
    for epoch in range(1, 4):
        part.write_batch(
            [messages(*range(epoch * 10, epoch * 10 + 10)), progress(epoch * 10 + 9)]
        )
        assert sum(part.snapshot()["ends"].values()) == epoch * 10


def test_messages_of_others_are_left_alone(config, topic, start):
    producer = Producer(config)
    producer.produce(topic, b"x")
    producer.produce(topic, b"x", headers={"millstream.id": b"r/0/0"})
    producer.produce(
        topic, b"x", headers={"millstream.id": b"r/0/1", "millstream.source": b"odd"}
    )
    producer.produce(
        topic, b"x", headers={"millstream.id": b"\xff", "millstream.source": b"t/0/1"}
    )
    producer.produce(topic, b"x", headers={"millstream.id": None, "millstream.source": None})
    producer.flush(5)
    part = start()
    part.write_batch([messages(0, 1), progress(1)])
    assert sum(part.snapshot()["ends"].values()) == 7


def test_a_record_sent_back_from_the_dead_letters_gets_an_id_of_its_own(config, topic, start):
    part = start()
    old = (("millstream.id", b"r/0/5"), ("millstream.source", b"payments/0/5"))
    part.write_batch([[Outgoing("r/0/9", ("payments", 0, 9), b"k", b"v", old)], progress(5)])
    part.snapshot()
    assert list(start()._sent) == ["r/0/9"]


def test_a_message_that_is_not_delivered_stops_the_flow(monkeypatch):
    monkeypatch.setattr(kafka_sink, "_FLUSH_SECONDS", 5)
    with start_broker() as bootstrap:
        config = {"bootstrap.servers": bootstrap, "message.timeout.ms": "2000"}
        create_topic(bootstrap, "gone", 1)
        part = KafkaSink(config, {"gone": [0]}).build_part("out", "gone", None)
        part.write_batch([messages(0), progress(0)])
        state = part.snapshot()
        assert state["ends"] == {0: 1}
    part.write_batch([messages(1), progress(1)])
    with pytest.raises(DeliveryError, match="gone: "):
        part.snapshot()


def test_each_topic_has_its_writer_in_a_fixed_place():
    sink = KafkaSink({}, {"b": [0], "a": [0]})
    assert sink.list_parts() == ["a", "b"]
    assert [sink.part_fn(name) for name in ("a", "b")] == [0, 1]


def test_a_record_too_large_to_send_on_goes_out_without_its_value(config, topic):
    """As large as the broker takes, and our headers on top, it would stop every start."""
    sink = KafkaSink(config | {"message.max.bytes": "2000"}, {topic: [0, 1]})
    part = sink.build_part("out", topic, None)
    part.write_batch([[Outgoing("big", ("payments", 0, 0), b"key", b"x" * 1_990)]])
    part.snapshot()
    (message,) = read_to_end(config, topic, {0: 0, 1: 0}, timeout=30)
    assert (message.key(), message.value()) == (b"key", None)
    assert dict(message.headers())[left_out_header("value")]

"""Forwarding records on a broker: each once and in order, whatever a restart knows."""

from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.client import read_to_end
from operators.connectors.kafka.forward import KafkaForward
from operators.connectors.kafka.producer import DeliveryError
from operators.records.batches import Progress, RawBatch
from ops.local import Stack
from ops.topics import create_topic

ID = "cluster/topic"


def batch(partition: int, first: int, last: int, step: int = 1) -> RawBatch:
    """Return records of these offsets; behind those that were refused are gaps."""
    offsets = np.arange(first, last + 1, step)
    texts = [b"%d" % offset for offset in offsets]
    return RawBatch(
        Progress("source", partition, 2, last),
        offsets,
        offsets + 1_772_000_000_000,
        [None, *texts[1:]],
        texts,
        [[("millstream.record", b"of an earlier flow")], *[None] * (len(texts) - 1)],
    )


@pytest.fixture
def topic(stack: Stack, request: pytest.FixtureRequest) -> str:
    name = f"forward-{abs(hash(request.node.name))}"
    create_topic(stack.bootstrap, name, 2)
    return name


def part(stack: Stack, topic: str, state: Any = None, identity: str = ID, **more: str) -> Any:
    config = {"bootstrap.servers": stack.bootstrap, **more}
    sink = KafkaForward(config, {topic: [0, 1]}, {topic: ("source", identity)}, "forward")
    return sink.build_part("step", topic, state)


def there(stack: Stack, topic: str) -> list[list[int]]:
    found: list[list[int]] = [[], []]
    for each in read_to_end({"bootstrap.servers": stack.bootstrap}, topic, {0: 0, 1: 0}):
        if each.key() != b"foreign":
            found[each.partition()].append(int(each.value()))
    return found


def test_a_restart_sends_what_is_behind_the_last_record_that_is_there(
    stack: Stack, topic: str
) -> None:
    first = part(stack, topic)
    first.write_batch([batch(0, 0, 9, 2), batch(1, 5, 6), batch(1, 7, 6)])
    state = first.snapshot()
    assert state == {"version": 1, "last": {0: 8, 1: 6}}
    # Behind the snapshot, and then it was killed.
    first.write_batch([batch(0, 10, 12)])
    first.snapshot()
    others = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for _ in range(150):
        others.produce(topic, b"0", b"foreign", 0)
    assert others.flush(30) == 0
    for known in (state, None):
        again = part(stack, topic, known)
        again.write_batch([batch(0, 0, 9, 2), batch(0, 10, 14), batch(1, 5, 6)])
        again.snapshot()
        assert there(stack, topic) == [[0, 2, 4, 6, 8, 10, 11, 12, 13, 14], [5, 6]]
    # Another topic's records, of the same name, are others.
    anew = part(stack, topic, identity="cluster/another")
    anew.write_batch([batch(1, 0, 1)])
    anew.snapshot()
    assert there(stack, topic)[1] == [5, 6, 0, 1]


def test_a_record_that_the_topic_does_not_take_ends_the_flow_with_what_to_do(
    stack: Stack, topic: str
) -> None:
    small = part(stack, topic, **{"message.max.bytes": "1000"})
    raw = batch(0, 0, 3)
    raw.values[1] = bytes(2_000)
    with pytest.raises(
        DeliveryError, match=r"raise its max\.message\.bytes, and MILLSTREAM_KAFKA_"
    ):
        small.write_batch([raw])


def test_each_is_sent_once_where_there_is_no_room_for_all_of_them(
    stack: Stack, topic: str
) -> None:
    small = part(stack, topic, **{"queue.buffering.max.messages": "100"})
    small.write_batch([batch(0, 0, 2_999), batch(1, 0, 999)])
    small.snapshot()
    assert there(stack, topic) == [[*range(3_000)], [*range(1_000)]]

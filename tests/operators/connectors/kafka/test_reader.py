"""One consumer for several partitions, against the local broker."""

import time

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.reader import READERS, Reader, Readers
from ops.topics import create_topic

PARTITIONS = 4
SIZE = 50
RECORDS = 1_000


@pytest.fixture
def reader(stack, topic):
    create_topic(stack.bootstrap, f"{topic}-wide", PARTITIONS)
    made = Reader({"bootstrap.servers": stack.bootstrap}, f"{topic}-wide", "readers", SIZE)
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for n in range(RECORDS):
        for partition in range(PARTITIONS):
            producer.produce(f"{topic}-wide", f"{partition}/{n}".encode(), partition=partition)
    assert producer.flush(30) == 0
    yield made
    for partition in range(PARTITIONS):
        made.leave(partition)
    assert made.closed


def take(reader, found, *partitions) -> None:
    """Take once from each of these partitions; records and the ends come in their order."""
    for partition in partitions:
        records, events, ends = reader.take(partition)
        assert len(records) + len(events) <= SIZE
        assert ends == bool(events), "nothing comes behind an end here"
        found[partition] += [*records.values, *(None for _ in events)]
    time.sleep(0.001)


def whole(partition: int, first: int = 0) -> list[bytes | None]:
    return [*(f"{partition}/{n}".encode() for n in range(first, RECORDS)), None]


def waits(reader) -> int:
    return reader._waiting + reader._kept


def until(done, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        yield


def test_each_partition_gets_its_own_in_order_and_then_its_end(reader):
    found = [[] for _ in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        reader.join(partition, 10 * partition)
    for _ in until(lambda: all(each[-1:] == [None] for each in found)):
        take(reader, found, *range(PARTITIONS))
        assert waits(reader) <= 2 * SIZE
    assert found == [whole(p, 10 * p) for p in range(PARTITIONS)]
    assert waits(reader) == 0


def test_what_nobody_takes_is_bounded_and_nothing_of_it_is_lost(reader):
    found = [[] for _ in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        reader.join(partition, None)
    later = time.monotonic() + 0.5
    while time.monotonic() < later:
        take(reader, found, 0, 1)
        assert waits(reader) <= 2 * SIZE
    for _ in until(lambda: all(each[-1:] == [None] for each in found)):
        take(reader, found, *range(PARTITIONS))
    assert found == [whole(p) for p in range(PARTITIONS)]


def test_those_held_back_stop_nobody_and_come_whole_later(reader):
    found = [[] for _ in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        reader.join(partition, None)
    for _ in until(lambda: found[3][-1:] == [None]):
        for partition in (0, 1, 2):
            reader.hold(partition)
        take(reader, found, 3)
        # While nobody was heard of, each call may bring as much.
        assert waits(reader) <= 5 * SIZE
    assert found == [[], [], [], whole(3)]
    for _ in until(lambda: all(each[-1:] == [None] for each in found)):
        take(reader, found, 0, 1, 2)
    assert found == [whole(p) for p in range(PARTITIONS)]


def test_who_leaves_brings_nothing_more_and_the_others_go_on(reader):
    found = [[] for _ in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        reader.join(partition, None)
    for _ in until(lambda: all(found)):
        take(reader, found, *range(PARTITIONS))
    reader.leave(0)
    left = len(found[0])
    for _ in until(lambda: all(each[-1:] == [None] for each in found[1:])):
        take(reader, found, 1, 2, 3)
    assert len(found[0]) == left
    assert found[1:] == [whole(p) for p in range(1, PARTITIONS)]
    reader.leave(0)  # as often as one likes


def test_who_is_heard_of_first_waits_for_the_others_but_not_for_ever(reader):
    for partition in range(2):
        reader.join(partition, None)
    assert not reader.early(0), "nobody was heard of"
    for _ in until(lambda: reader._buffers[1].n):
        reader.take(0)  # what nobody takes of it would leave no room for the other
        reader.hold(1)
        reader._unheard.add(0)  # as if its broker were out of reach
    assert reader.early(1)
    assert not reader.early(0)
    for _ in until(lambda: not reader.early(1)):
        time.sleep(0.05)


def test_a_workers_partitions_are_dealt_out_to_its_readers_whichever_they_are():
    readers = Readers({"bootstrap.servers": "127.0.0.1:1"}, "t", "g", 10)
    found = {partition: readers.of(partition) for partition in (0, 4, 8, 12, 16)}
    assert len({id(each) for each in found.values()}) == READERS == 4
    assert found[16] is found[0]
    assert readers.of(8) is found[8]

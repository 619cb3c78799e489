"""Against the local broker."""

import os
import signal
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from operators.connectors.kafka import records as kafka_records
from operators.connectors.kafka.client import consumer
from operators.connectors.kafka.source import STATE_VERSION, KafkaSource
from operators.connectors.shutdown import Shutdown
from operators.records.batches import NO_WATERMARK
from ops.processes import free_port, running
from ops.servers import HOST, broker
from ops.topics import create_topic
from tests.operators.connectors.partitions import poll, read, values


def test_records_come_as_they_are_in_batches_with_their_offsets(topic, send, open_part):
    send(
        b"0",
        b"1",
        key=b"k",
        headers=[("h", b"\xff"), ("none", None)],
        timestamp=1_700_000_000_000,
    )
    send(None, b"")
    batches = read(open_part(), 4)
    assert values(batches) == [b"0", b"1", None, b""]
    assert [int(o) for b in batches for o in b.offsets] == [0, 1, 2, 3]
    assert [k for b in batches for k in b.keys] == [b"k", b"k", None, None]
    headers = [h for b in batches for h in b.headers]
    assert headers[:2] == [[("h", b"\xff"), ("none", None)]] * 2
    assert headers[2:] == [None, None]
    stamps = [int(t) for b in batches for t in b.timestamps]
    assert stamps[:2] == [1_700_000_000_000] * 2
    last = batches[-1].progress
    assert (last.topic, last.partition, last.partitions, last.offset) == (topic, 0, 2, 3)
    assert last.watermark == NO_WATERMARK
    assert not last.idle


def test_a_batch_is_what_has_arrived_up_to_its_size(send, open_part):
    send(*[b"x"] * 25)
    part = open_part(batch_size=10)
    sizes = [len(batch) for batch in read(part, 25) if len(batch)]
    assert sum(sizes) == 25
    assert max(sizes) <= 10


def test_an_unhurried_partition_is_read_again_at_the_next_multiple_unless_there_is_more(
    send, open_part
):
    send(*[b"x"] * 25)
    part = open_part(batch_size=10, read_every=0.5)
    assert len(read(part, 10)[-1]) == 10
    assert part.next_awake() is None
    read(part, 15)
    before = time.time()
    awake = part.next_awake().timestamp()
    assert before < awake <= time.time() + 0.5
    assert awake % 0.5 == 0


def test_a_hurried_partition_is_read_on_at_once_and_when_nothing_came_together_with_others(
    send, open_part
):
    send(b"x")
    part = open_part(stop_at_end=False)
    read(part, 1)
    assert part.next_awake() is None
    while list(part.next_batch()):
        pass
    before = time.time()
    awake = part.next_awake().timestamp()
    assert before < awake <= time.time() + 0.002
    assert round(awake % 0.002, 5) in (0, 0.002)


def test_a_partition_that_rests_at_the_end_of_its_run_is_not_looked_at_all_the_time(
    send, open_part
):
    send(b"x")
    part = open_part(stop_at_end=True, read_every=0.5)
    read(part, 1)
    before = time.time()
    assert before < part.next_awake().timestamp() <= time.time() + 0.05


def test_what_had_closed_before_it_is_kept_until_it_is_told(open_part):
    state = {"version": STATE_VERSION, "offset": 0, "ended": False}
    assert "closed" not in open_part(state).snapshot()
    assert open_part(state | {"closed": 7}, partition=1).snapshot()["closed"] == 7


def test_a_resumed_partition_goes_on_behind_its_snapshot(send, open_part):
    send(b"0", b"1", b"2")
    part = open_part(batch_size=2)
    assert values(read(part, 2)) == [b"0", b"1"]
    state = part.snapshot()
    assert state == {"version": 1, "offset": 2, "ended": False}
    read(part, 1)
    assert values(read(open_part(state), 1)) == [b"2"]


def test_the_first_call_behind_a_snapshot_brings_a_batch_even_if_empty(send, open_part):
    send(b"0")
    part = open_part(idle_timeout=1e6)
    read(part, 1)
    for _ in range(2):
        part.snapshot()
        (heartbeat,) = part.next_batch()
        assert len(heartbeat) == 0
        assert heartbeat.progress.offset == 0
        assert poll(part, lambda _: True) == []
        assert [list(part.next_batch()) for _ in range(3)] == [[]] * 3


def test_a_partition_without_any_record_announces_itself(open_part):
    part = open_part(partition=1)
    (batch,) = poll(part, bool)
    assert (batch.progress.partition, batch.progress.offset, len(batch)) == (1, -1, 0)


def test_latest_starts_behind_what_is_there_and_keeps_its_place(send, open_part):
    send(b"old", b"older")
    part = open_part(start="latest")
    state = part.snapshot()
    assert state["offset"] == 2, "known before the first epoch ends, however soon that is"
    # What comes while the flow is down is not skipped by the next start.
    send(b"new")
    again = open_part(state, start="latest")
    assert values(read(again, 1)) == [b"new"]


def test_a_partition_added_since_the_first_start_is_read_from_its_beginning(send, open_part):
    send(b"0", b"1", partition=1)
    new = open_part(partition=1, start="latest", resumes=True)
    assert values(read(new, 2)) == [b"0", b"1"]
    known = {"version": 1, "offset": 1, "ended": False}
    old = open_part(known, partition=1, start="latest", resumes=True)
    assert values(read(old, 1)) == [b"1"]


def test_a_time_that_no_record_has_reached_is_the_end(send, open_part, monkeypatch):
    # The local broker cannot look offsets up by time, so what it would answer is played.
    send(b"0", b"1", b"2")
    monkeypatch.setattr("operators.connectors.kafka.client.consumer", Timed)
    early = open_part(start=datetime(2024, 1, 1, tzinfo=UTC))
    assert values(read(early, 2)) == [b"1", b"2"]
    late = open_part(start=datetime(2099, 1, 1, tzinfo=UTC))
    assert late.snapshot()["offset"] == 3


class Timed:
    """A consumer that finds offset 1 for a time of 2024, and none for any later one."""

    def __init__(self, config, group, **settings) -> None:
        self._real = consumer(config, group, **settings)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def offsets_for_times(self, places, timeout):
        for place in places:
            place.offset = 1 if place.offset == 1_704_067_200_000 else -1
        return places


def test_every_epoch_begins_with_whether_the_partition_is_read_to_its_end(send, open_part):
    send(b"0", b"1")
    part = open_part(batch_size=1)
    batch = read(part, 1)[-1]
    assert (batch.progress.caught_up, batch.progress.behind) == (False, 1)
    read(part, 1)

    def told(found) -> bool:
        part.snapshot()
        return bool(found) and found[-1].progress.caught_up

    assert len(poll(part, told)[-1]) == 0
    part.snapshot()
    assert [each.progress.caught_up for each in part.next_batch()] == [True]
    assert not batch.progress.idle, "that is not for the source to say"


def test_a_partition_that_cannot_be_reached_is_behind(topic):
    nowhere = {"bootstrap.servers": f"127.0.0.1:{free_port()}"}
    source = KafkaSource(nowhere, topic, [0], idle_timeout=0.05, shutdown=Shutdown())
    state = {"version": 1, "offset": 5, "ended": False}
    part = source.build_part("in", f"{topic}/0", state)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert not any(batch.progress.caught_up for batch in part.next_batch())
        part.snapshot()
        time.sleep(0.002)
    part.close()


def test_when_asked_to_stop_it_ends_where_it_is_and_a_resume_goes_on_there(send, open_part):
    shutdown = Shutdown()
    send(b"0", b"1")
    part = open_part(shutdown=shutdown, batch_size=1)
    read(part, 1)
    shutdown.requested = True
    with pytest.raises(StopIteration):
        part.next_batch()
    state = part.snapshot()
    assert state == {"version": 1, "offset": 1, "ended": False}
    assert values(read(open_part(state), 1)) == [b"1"]


def test_the_group_learns_of_an_epoch_when_it_is_durable(stack, topic, send, open_part):
    def committed() -> int:
        return client.committed([TopicPartition(topic, 0)], 5)[0].offset

    client = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": "tools"})
    send(b"0", b"1")
    part = open_part(group="tools")
    read(part, 2)
    part.snapshot()
    assert committed() < 0
    poll(part, lambda _: committed() == 2)
    client.close()


def test_closing_does_not_wait_for_brokers_that_no_longer_answer(tmp_path):
    with running("broker", *broker(), tmp_path / "log") as server:
        config = {"bootstrap.servers": f"{HOST}:{server.port}"}
        create_topic(config["bootstrap.servers"], "t", 1)
        source = KafkaSource(config, "t", [0], shutdown=Shutdown())
        part = source.build_part("in", "t/0", None)
        producer = Producer(config)
        producer.produce("t", b"0")
        producer.flush()
        read(part, 1)
        part.snapshot()
        os.kill(server.pid, signal.SIGSTOP)
        part.next_batch()  # commits to the group, and waits for no answer
        began = time.monotonic()
        part.close()
        assert time.monotonic() - began < 5
        # A client that has none yet ends after 45 s of a full core, in whatever test that is.
        os.kill(server.pid, signal.SIGCONT)
        source.group_offsets.finish(30)


class Odd:
    """A message with a header whose name is not UTF-8, which no Python producer can send."""

    def __init__(self, offset: int, *, odd: bool) -> None:
        self._offset, self._odd = offset, odd

    def offset(self):
        return self._offset

    def timestamp(self):
        return (1, 5)

    def key(self):
        return None

    def value(self):
        return b"v"

    def headers(self):
        if self._odd:
            b"\xff".decode()
        return [("h", b"1")]


def test_header_names_that_are_not_utf8_cost_no_record(open_part, monkeypatch):
    monkeypatch.setattr(kafka_records, "Message", Odd)
    records = kafka_records.Records.of([Odd(7, odd=False), Odd(8, odd=True)])
    batch = open_part()._batch(records)
    assert list(batch.headers) == [[("h", b"1")], [("<header names that are not UTF-8>", None)]]
    assert values([batch]) == [b"v", b"v"]
    assert batch.progress.offset == 8


def test_parts_are_named_by_topic_and_partition(stack, topic):
    source = KafkaSource({}, topic, [0, 1, 11], shutdown=Shutdown())
    assert source.list_parts() == [f"{topic}/0", f"{topic}/1", f"{topic}/11"]

"""Partitions of one source wait for each other, against the local broker."""

import time

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.source import KafkaSource
from operators.connectors.shutdown import Shutdown
from operators.records.breaker import PROBE, Breaker
from tests.operators.connectors.partitions import poll

BEGIN = 1_700_000_000_000
HOURS = 10
FEW, MANY = 200, 4_000
BATCH = 20


@pytest.fixture
def send(stack, topic):
    producer = Producer({"bootstrap.servers": stack.bootstrap, "linger.ms": 5})

    def send(partition: int, *times: int) -> None:
        for i, at in enumerate(times):
            producer.produce(topic, str(i), partition=partition, timestamp=at)
        assert producer.flush(10) == 0

    return send


@pytest.fixture
def open_parts(stack, topic):
    """Both partitions of one source, as one process has them."""
    parts = []

    def open_parts(**settings):
        source = KafkaSource(
            {"bootstrap.servers": stack.bootstrap},
            topic,
            [0, 1],
            **{"shutdown": Shutdown(), "batch_size": BATCH} | settings,
        )
        opened = [source.build_part("in", name, None) for name in source.list_parts()]
        parts.extend(opened)
        return source, *opened

    yield open_parts
    for part in parts:
        part.close()


def records(batches) -> int:
    return sum(map(len, batches))


def over(n: int) -> list[int]:
    """So many timestamps over the same hours, in ms."""
    return [BEGIN + i * HOURS * 3_600_000 // n for i in range(n)]


def read_in_turns(parts) -> tuple[list[list[str]], float]:
    """Read both partitions to their ends; also return the widest spread of times in s."""
    found, at, spread = [[], []], [0, 0], 0.0
    parts = dict(enumerate(parts))
    deadline = time.monotonic() + 30
    while parts:
        assert time.monotonic() < deadline
        for partition, part in list(parts.items()):
            try:
                batches = list(part.next_batch())
            except StopIteration:
                part.close()
                del parts[partition]
                continue
            for batch in batches:
                found[partition] += [value.decode() for value in batch.values]
                if len(batch):
                    at[partition] = int(batch.timestamps[-1])
            if all(at):
                spread = max(spread, abs(at[0] - at[1]) / 1_000)
        time.sleep(0.0005)
    return found, spread


def test_the_one_ahead_waits_and_everything_is_read(send, open_parts):
    send(0, *over(FEW))
    send(1, *over(MANY))
    everything = [[str(i) for i in range(FEW)], [str(i) for i in range(MANY)]]

    _, *parts = open_parts(alignment=0, stop_at_end=True, close_windows=True)
    found, spread = read_in_turns(parts)
    assert found == everything
    assert spread > 0.8 * HOURS * 3_600, "what alignment is for"

    _, *parts = open_parts(alignment=600, stop_at_end=True, close_windows=True)
    found, spread = read_in_turns(parts)
    assert found == everything
    # A batch is read whole, whatever its span.
    assert spread <= 600 + BATCH * HOURS * 3_600 / FEW


def test_who_waits_says_what_is_due_and_that_it_is_behind(send, open_parts):
    send(0, BEGIN + 3_600_000, BEGIN + 3_600_001)
    send(1, *over(MANY))
    source, ahead, behind = open_parts(alignment=600, batch_size=1, idle_timeout=0.05)
    source.readers.of(0).hold(0)
    poll(behind, records)
    poll(ahead, records, behind)
    assert source.alignment.held(0)
    state = ahead.snapshot()
    (heartbeat,) = ahead.next_batch()
    assert (len(heartbeat), heartbeat.progress.offset) == (0, 0)
    later = time.monotonic() + 0.15
    assert poll(ahead, lambda _: time.monotonic() > later) == []
    assert ahead.snapshot() == state == {"version": 1, "offset": 1, "ended": False}
    (heartbeat,) = ahead.next_batch()
    assert not heartbeat.progress.caught_up
    assert heartbeat.progress.behind == 1
    behind.close()
    assert records(poll(ahead, records)) == 1


def test_who_falls_silent_with_records_left_holds_nobody(send, open_parts):
    send(0, BEGIN, BEGIN + 1)
    source, ahead, silent = open_parts(alignment=600, batch_size=1, idle_timeout=1.5)
    poll(ahead, records, silent)
    # As if its broker had told of records and then gone.
    source.alignment.observe(1, 0, backlog=True)
    assert source.alignment.held(0)
    source.readers.of(0).hold(0)
    poll(silent, lambda _: not source.alignment.held(0))
    assert records(poll(ahead, records, silent)) == 1


def test_a_clock_that_is_wrong_holds_nobody_up(send, open_parts):
    now = int(time.time() * 1_000)
    send(0, now + 10**12, now)
    send(1, *[now] * MANY)
    source, wrong, right = open_parts(alignment=600, batch_size=1)
    source.readers.of(0).hold(0)
    poll(right, records)
    poll(wrong, records, right)
    assert not source.alignment.held(0)
    assert not source.alignment.held(1)


def test_one_that_the_breaker_pauses_is_not_read_but_for_a_probe(send, open_parts):
    """The other is read on; what is paused tells nobody that it is silent, nor at its end."""
    now = 0.0
    breaker = Breaker(0.5, over=BATCH, clock=lambda: now)
    send(0, *over(FEW))
    _, paused, other = open_parts(breaker=breaker, batch_size=FEW)
    poll(paused, lambda batches: records(batches) == FEW, other)
    assert breaker.observe("t", 0, FEW, FEW)
    send(0, *over(MANY))
    send(1, *over(FEW))
    poll(other, lambda batches: records(batches) == FEW)
    assert list(paused.next_batch()) == []
    paused.snapshot()
    (announced,) = paused.next_batch()
    assert len(announced) == 0
    assert not announced.progress.caught_up
    now = 60.0
    probe = poll(paused, lambda batches: records(batches) > 0)
    assert 0 < records(probe) <= PROBE
    assert list(paused.next_batch()) == [], "until the probe is judged"
    assert breaker.observe("t", 0, records(probe), 0)
    rest = poll(paused, lambda batches: records([*probe, *batches]) == MANY)
    assert [value for batch in [*probe, *rest] for value in batch.values] == [
        str(i).encode() for i in range(MANY)
    ]

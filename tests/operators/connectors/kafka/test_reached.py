"""From behind what tables have reached on, what had closed by their watermark stays closed."""

import time

import pytest

from operators.connectors.kafka.reached import Closed, Reached, reached
from operators.connectors.kafka.source import STATE_VERSION
from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK
from tests.operators.connectors.partitions import read

OPENED = {"version": STATE_VERSION, "offset": 0, "ended": False}


def test_of_several_tables_the_one_that_is_furthest_counts():
    tables = [
        Frontier({("t", 0): 4, ("t", 1): 2, ("other", 0): 9}, 300),
        Frontier({("t", 0): 5}, 200),
        Frontier(),
    ]
    assert reached(tables, "t") == {0: Reached(5, 300), 1: Reached(2, 300)}
    assert reached([Frontier({("t", 0): 4})], "t") == {}
    assert reached([], "t") == {}


def test_where_there_is_nothing_before_it_counts_at_once():
    closed = Closed({**OPENED, "closed": 100}, Reached(3, 300))
    assert (closed.now, closed.until) == (100, 3)
    closed.pass_on()
    assert (closed.now, closed.until, closed.waits) == (300, None, False)
    assert closed.snapshot() == {"closed": 300}


def test_behind_a_batch_of_the_epoch_it_counts_from_the_next_epoch_on():
    closed = Closed(None, Reached(3, 300))
    closed.spoke()
    closed.pass_on()
    assert (closed.now, closed.until, closed.waits) == (NO_WATERMARK, 3, True)
    assert closed.snapshot() == {"closed": 300}
    assert (closed.now, closed.until, closed.waits) == (300, None, False)


def test_what_had_closed_before_is_no_less_behind_it():
    closed = Closed({**OPENED, "closed": 400}, Reached(3, 300))
    closed.pass_on()
    assert closed.now == 400
    assert Closed(OPENED, None).snapshot() == {}


@pytest.mark.parametrize("offset", [-1, 0, 2, 4])
def test_a_partition_is_read_in_two_parts_that_are_never_of_one_epoch(send, open_part, offset):
    send(*(str(n).encode() for n in range(5)), partition=1)
    part = open_part(partition=1, reached={1: Reached(offset, 300)})
    before = read(part, offset + 1) if offset >= 0 else []
    for _ in range(30 if before else 0):
        before += part.next_batch()
        time.sleep(0.002)
    assert sum(map(len, before)) == offset + 1
    assert {batch.progress.closed for batch in before if len(batch)} <= {NO_WATERMARK}
    state = part.snapshot()
    assert state["offset"] == (offset + 1 if before else state["offset"])
    again = open_part(
        {**state, "offset": offset + 1}, partition=1, reached={1: Reached(offset, 300)}
    )
    for each in (part, again):
        rest = read(each, 4 - offset)
        assert [int(o) for batch in rest for o in batch.offsets] == [*range(offset + 1, 5)]
        assert {batch.progress.closed for batch in rest if len(batch)} <= {300}
        assert each.snapshot()["offset"] == 5


def test_an_offset_that_is_no_record_is_passed_as_well(send, open_part):
    send(b"0", b"1", partition=1)
    # As of a topic whose last offset then was a transaction's marker.
    part = open_part({**OPENED, "offset": 1}, partition=1, reached={1: Reached(0, 300)})
    batches = read(part, 1)
    assert [batch.progress.closed for batch in batches if len(batch)] == [300]

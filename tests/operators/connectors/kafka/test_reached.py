"""From behind what tables have reached on, what had closed by their watermark stays closed."""

import time

import pytest

from operators.connectors.kafka.reached import Closed, Reached, closed_at, reached
from operators.connectors.kafka.source import STATE_VERSION
from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK
from tests.operators.connectors.partitions import read

OPENED = {"version": STATE_VERSION, "offset": 0, "ended": False}


def test_tables_that_tell_of_other_offsets_are_steps_by_which_the_watermark_rises():
    tables = [
        Frontier({("t", 0): 4, ("t", 1): 2, ("other", 0): 9}, 300),
        Frontier({("t", 0): 5, ("t", 1): 2}, 200),
        Frontier({("t", 0): 2}, 100),
        Frontier({("t", 0): 9}),
        Frontier(),
    ]
    assert reached(tables, "t", [0, 1, 2]) == {
        0: (Reached(2, 100), Reached(4, 300)),
        1: (Reached(-1, 100), Reached(2, 300)),
        2: (Reached(-1, 300),),
    }
    assert reached([Frontier({("t", 0): 4})], "t", [0]) == {0: ()}
    assert reached([], "t", [0]) == {0: ()}


def test_what_was_come_to_before_an_offset_is_read():
    steps = Reached(2, 100), Reached(4, 300)
    found = [closed_at(steps, position) for position in (0, 2, 3, 4, 5, 9)]
    assert found == [NO_WATERMARK, NO_WATERMARK, 100, 100, 300, 300]


def test_where_there_is_nothing_before_it_counts_at_once():
    closed = Closed(
        {**OPENED, "closed": 50}, [Reached(2, 100), Reached(3, 300), Reached(8, 400)]
    )
    assert (closed.now, closed.until) == (50, 2)
    closed.pass_on(4)
    assert (closed.now, closed.until, closed.waits) == (300, 8, False)
    assert closed.snapshot() == {"closed": 300}


def test_behind_a_batch_of_the_epoch_it_counts_from_the_next_epoch_on():
    closed = Closed(OPENED, [Reached(3, 300)])
    closed.spoke()
    closed.pass_on(4)
    assert (closed.now, closed.until, closed.waits) == (NO_WATERMARK, 3, True)
    assert closed.snapshot() == {"closed": 300}
    assert (closed.now, closed.until, closed.waits) == (300, None, False)


def test_without_a_state_it_is_durable_before_a_row_is_judged_by_it():
    closed = Closed(None, [Reached(-1, 300)])
    closed.pass_on(0)
    assert closed.waits
    assert closed.snapshot() == {"closed": 300}
    assert not closed.waits
    assert Closed(None).until is None


def test_what_had_closed_before_is_no_less_behind_it():
    closed = Closed({**OPENED, "closed": 400}, [Reached(3, 300)])
    closed.pass_on(4)
    assert closed.now == 400
    assert Closed(OPENED).snapshot() == {}


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_a_partition_is_read_in_two_parts_that_are_never_of_one_epoch(send, open_part, offset):
    send(*(str(n).encode() for n in range(5)), partition=1)
    steps = {1: [Reached(offset, 300)]}
    part = open_part(OPENED, partition=1, reached=steps)
    before = read(part, offset + 1)
    for _ in range(30):
        before += part.next_batch()
        time.sleep(0.002)
    assert sum(map(len, before)) == offset + 1
    assert {batch.progress.closed for batch in before if len(batch)} == {NO_WATERMARK}
    state = part.snapshot()
    assert state["offset"] == offset + 1
    for each in (part, open_part(state, partition=1, reached=steps)):
        rest = read(each, 4 - offset)
        assert [int(o) for batch in rest for o in batch.offsets] == [*range(offset + 1, 5)]
        assert {batch.progress.closed for batch in rest if len(batch)} <= {300}
        assert each.snapshot()["offset"] == 5


def test_a_partition_without_state_is_read_from_its_second_epoch_on(send, open_part):
    send(b"0", partition=1)
    part = open_part(partition=1, reached={1: [Reached(-1, 300)]})
    assert [len(batch) for _ in range(30) for batch in part.next_batch()] == [0]
    state = part.snapshot()
    assert state["closed"] == 300
    assert [batch.progress.closed for batch in read(part, 1)][-1] == 300


def test_an_offset_that_is_no_record_is_passed_as_well(send, open_part):
    send(b"0", b"1", partition=1)
    # As of a topic whose last offset then was a transaction's marker.
    part = open_part({**OPENED, "offset": 1}, partition=1, reached={1: [Reached(0, 300)]})
    batches = read(part, 1)
    assert [batch.progress.closed for batch in batches if len(batch)] == [300]

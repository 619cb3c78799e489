"""Runs of what is there, against the local broker: where a partition ends, and when."""

import pytest

from operators.connectors.shutdown import Shutdown
from operators.records.batches import END_OF_INPUT, NO_WATERMARK
from tests.operators.connectors.partitions import poll, read_all, values


@pytest.mark.parametrize("close", [False, True])
def test_a_bounded_input_ends_at_the_end_which_may_be_that_of_time(send, open_part, close):
    send(b"0", b"1")
    part = open_part(stop_at_end=True, close_windows=close)
    batches = read_all(part)
    assert values(batches) == [b"0", b"1"]
    mark = END_OF_INPUT if close else NO_WATERMARK
    assert batches[-1].progress.watermark == mark
    state = part.snapshot()
    assert state == {"version": 1, "offset": 2, "ended": close}
    if not close:
        send(b"2")
        assert values(read_all(open_part(state, stop_at_end=True))) == [b"2"]


def test_an_empty_bounded_input_ends_too(open_part):
    part = open_part(stop_at_end=True, close_windows=True, partition=1)
    batches = read_all(part)
    assert batches[-1].progress.watermark == END_OF_INPUT
    assert batches[-1].progress.offset == -1


def test_a_partition_at_its_end_says_what_more_has_come_until_the_others_are_there(
    send, open_part
):
    shutdown = Shutdown()
    send(b"0")
    send(*[b"x"] * 5, partition=1)
    first = open_part(stop_at_end=True, shutdown=shutdown)
    other = open_part(stop_at_end=True, shutdown=shutdown, partition=1, batch_size=1)
    assert poll(first, lambda found: found and found[-1].progress.caught_up)
    first.snapshot()
    assert [b.progress.caught_up for b in first.next_batch()] == [True]
    send(b"1")

    def told(_) -> bool:
        first.snapshot()
        (batch,) = first.next_batch()
        assert len(batch) == 0, "that is for the next run"
        return batch.progress.behind == 1 and not batch.progress.caught_up

    poll(other, told)
    assert len(values(read_all(other))) <= 5
    assert values(read_all(first)) == []
    assert first.snapshot()["offset"] == 1


def test_a_bounded_input_ends_though_it_is_written_to_without_a_pause(send, open_part):
    """Then a broker may never tell of an end: with every answer more has come."""
    send(*[b"x"] * 5)
    part = open_part(stop_at_end=True, batch_size=1)
    found = []

    def read_on() -> None:
        while True:
            send(b"y", b"y")
            found.extend(part.next_batch())
            part.snapshot()

    with pytest.raises(StopIteration):
        read_on()
    assert values(found)[:5] == [b"x"] * 5
    assert part.snapshot()["offset"] == sum(map(len, found))
    assert not found[-1].progress.caught_up

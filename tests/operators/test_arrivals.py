import polars as pl
import pytest

from operators.arrivals import Arrivals
from operators.batches import NO_WATERMARK, Progress
from operators.waiting import LATE_ROWS, OFFSET, Side
from tests.operators.streams import TYPES, events, frame

SIDES = {topic: Side(topic, ("key",), {"value": "value"}, TYPES) for topic in "lr"}


def rows(topic: str, *times: int, partition: int = 0) -> pl.DataFrame:
    parts = [[] for _ in range(partition)] + [[(time, "a", time) for time in times]]
    return SIDES[topic].rows(frame(events(topic, parts, 0)))


def progress(topic: str, watermark: int, partition: int = 0, idle: bool = False) -> Progress:
    return Progress(topic, partition, 2 if topic == "l" else 1, 9, watermark, idle)


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals({"l": 2, "r": 1}, "lr", 3)


def offsets(side: pl.DataFrame | None) -> list[int]:
    return [] if side is None else side[OFFSET].to_list()


def test_rows_pass_once_with_the_watermark_of_all_partitions_less_the_lateness(arrivals):
    assert arrivals.passed() is None
    both = [progress("l", 10), progress("r", 10)]
    assert arrivals.add(both, rows("l", 8, 6, 7), rows("r", 1)) is None
    assert arrivals.passed() is None, "a partition was not heard of"
    arrivals.add([progress("l", 10, 1)], None, None)
    due, (left, right) = arrivals.passed()
    assert (due, offsets(left), offsets(right)) == (7, [1], [0])
    assert arrivals.passed() is None
    assert len(arrivals) == 2
    arrivals.add([progress("l", 11), progress("l", 11, 1), progress("r", 12)], None, None)
    due, (left, right) = arrivals.passed()
    assert (due, offsets(left), right) == (8, [2], None)


def test_a_partition_that_slept_brings_late_rows(arrivals):
    slept = [progress("l", 50), progress("l", NO_WATERMARK, 1, idle=True), progress("r", 50)]
    arrivals.add(slept, None, None)
    arrivals.dump()  # at snapshots the flow goes on without those that sleep
    assert arrivals.passed() is not None
    woken = rows("l", 46, 47, partition=1)
    late = arrivals.add([progress("l", 47, 1)], woken, None)
    assert dict(late.schema) == LATE_ROWS
    assert late.select("source_partition", "source_offset").rows() == [(1, 0)]
    assert len(arrivals) == 1


def test_a_dumped_state_goes_on_where_it_was(arrivals):
    all_ = [progress("l", 10), progress("l", 10, 1), progress("r", 10)]
    arrivals.add(all_, rows("l", 1, 9), None)
    arrivals.passed()
    again = Arrivals({"l": 2, "r": 1}, "lr", 3)
    again.load(arrivals.dump())
    assert len(again) == 1
    assert again.passed() is None
    again.add([progress("l", 20), progress("l", 20, 1), progress("r", 20)], None, None)
    due, (left, _) = again.passed()
    assert (due, offsets(left)) == (17, [1])

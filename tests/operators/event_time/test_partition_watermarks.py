"""A partition's watermark and its idleness, which nobody else has a say in."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.watermarks import (
    Bounds,
    Idleness,
    PartitionWatermark,
)
from operators.records.batches import NO_WATERMARK, Progress

event_times = st.lists(st.integers(0, 200), max_size=30)


@st.composite
def cut(draw, items):
    """Cut a list into consecutive batches, empty ones among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(items)), max_size=6)))
    return [
        items[a:b] for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)
    ]  # fmt: skip


@given(event_times, st.integers(0, 50), st.data())
def test_a_partitions_watermark_is_its_largest_time_so_far_minus_the_bound(times, bound, data):
    watermark = PartitionWatermark(bound)
    got = []
    for batch in data.draw(cut(times)):
        got += watermark.advance(np.array(batch, np.int64)).tolist()
        # What recovery does between any two batches.
        watermark = PartitionWatermark(bound, watermark.largest)
    before = [max(times[:i]) - bound if i else NO_WATERMARK for i in range(len(times))]
    assert got == before
    assert watermark.current == (max(times) - bound if times else NO_WATERMARK)


def test_a_bound_that_grew_and_shrank_again_has_not_moved_event_time():
    bounds = Bounds(0, ((0, {0: 0}), (1, {0: 1})))
    frame = pl.DataFrame({"source_offset": [0, 1, 2], "source_partition": [0, 0, 0]})
    marks = PartitionWatermark(bounds).advance(np.zeros(3, np.int64), frame)
    assert marks.tolist() == [NO_WATERMARK, 0, 0]


@given(event_times, st.lists(st.integers(0, 50), min_size=1, max_size=4), st.data())
def test_another_bound_counts_from_its_offset_on_and_takes_no_watermark_back(times, made, data):
    """Whatever the batches, and whether states or the stored watermarks bring it there."""
    ends = sorted(data.draw(st.integers(-1, 30)) for _ in made[1:])
    bounds = Bounds(made[-1], tuple((b, {0: e}) for b, e in zip(made, ends, strict=False)))
    frame = pl.DataFrame(
        {"source_offset": range(len(times))}, {"source_offset": pl.Int64}
    ).with_columns(source_partition=pl.lit(0, pl.Int32))
    expected, reached = [], NO_WATERMARK
    for at, largest in enumerate(accumulate(times, max)):
        expected.append(reached)
        by = [made[sum(e < each for e in ends)] for each in (at, at + 1)]
        # What it comes to behind a record, and then by the bound of the next.
        reached = max(reached, *(largest - bound for bound in by))
    watermark, got, place, past = PartitionWatermark(bounds), [], 0, data.draw(st.booleans())
    for batch in data.draw(cut(times)):
        values, rows = np.array(batch, np.int64), frame[place : place + len(batch)]
        place += len(batch)
        if past and batch:
            marks = np.array(expected[place - len(batch) : place])
            watermark.retrace(values, marks, rows)
            got += marks.tolist()
            past = data.draw(st.booleans())
        else:
            watermark.settle()
            got += watermark.advance(values, rows).tolist()
        # What recovery does between any two batches.
        state = watermark.largest, watermark.told, watermark.bound, watermark.floor
        watermark = PartitionWatermark(bounds, *state)
    assert got == expected


def at(partition: int, watermark: int, *, idle: bool = False, of: int = 2) -> Progress:
    return Progress("t", partition, of, 0, watermark, idle)


looks = st.lists(
    st.tuples(st.floats(0.1, 9), st.integers(0, 2), st.booleans(), st.booleans()), max_size=20
)


@given(looks)
def test_a_partition_is_idle_if_it_is_read_to_its_end_and_no_event_has_come_for_the_timeout(
    plan,
):
    """Whatever came else, however often it was behind in between, and also across restarts."""
    idleness, now, heard = Idleness(10.0, 0.0), 0.0, 0.0
    for passed, events, caught_up, restart in plan:
        now += passed
        if restart:
            # With another clock, as after a reboot.
            quiet = idleness.quiet(now)
            now, heard = now + 1_000, heard + 1_000
            idleness = Idleness(10.0, now, quiet)
        heard = now if events else heard
        told = idleness.judge(Progress("t", 0, 1, caught_up=caught_up), events, now)
        assert told.quiet == pytest.approx(now - heard)
        assert told.idle == (caught_up and told.quiet > 10.0)
        assert replace(told, idle=False, quiet=0.0) == Progress("t", 0, 1, caught_up=caught_up)


def test_the_past_is_retraced_by_the_watermarks_that_it_had():
    past = PartitionWatermark(10)
    before = past.advance(np.array([100, 90, 130]))
    again = PartitionWatermark(10)
    again.retrace(np.array([100, 90]), before[:2])
    assert again.current == 90
    again.retrace(np.array([130]), before[2:])
    # Behind the last event of the past it is not ahead of what a later one was judged by.
    assert again.current == 90
    again.settle()
    assert again.current == past.current == 120
    assert again.advance(np.array([131])).tolist() == [120]


def test_no_watermark_goes_back_where_another_bound_goes_on():
    again = PartitionWatermark(50)
    again.retrace(np.array([100, 101]), np.array([NO_WATERMARK, 90]))
    assert PartitionWatermark(50, again.largest, again.told).current == again.current == 90
    again.settle()
    assert again.current == 90
    assert again.advance(np.array([130, 150])).tolist() == [90, 90]
    assert again.current == 100

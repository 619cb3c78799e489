from dataclasses import replace
from itertools import accumulate

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.watermarks import (
    Bounds,
    FlowWatermark,
    Idleness,
    PartitionWatermark,
    ended,
)
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress

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
        state = watermark.largest, watermark.told, watermark.bound
        watermark = PartitionWatermark(bounds, *state)
    assert got == expected


def at(partition: int, watermark: int, *, idle: bool = False, of: int = 2) -> Progress:
    return Progress("t", partition, of, 0, watermark, idle)


def flow_of(*progress: Progress) -> FlowWatermark:
    flow = FlowWatermark()
    for each in progress:
        flow.observe(each)
    return flow


def test_nothing_is_known_until_every_partition_was_heard_of():
    flow = FlowWatermark()
    assert flow.current == NO_WATERMARK
    flow.observe(at(0, 100))
    assert flow.current == NO_WATERMARK
    flow.observe(at(1, NO_WATERMARK))
    assert flow.current == NO_WATERMARK
    flow.observe(at(1, 70))
    assert flow.current == 70


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=5))
def test_the_flows_watermark_is_the_minimum_of_the_partitions(marks):
    flow = flow_of(*(at(p, mark, of=len(marks)) for p, mark in enumerate(marks)))
    assert flow.current == min(marks)


def test_an_idle_partition_stops_holding_the_others_back_at_the_next_snapshot_only():
    flow = flow_of(at(0, 100), at(1, 10, idle=True))
    assert flow.current == 10
    flow.freeze()
    assert flow.current == 100
    # It stays where the others were then, until the next snapshot.
    flow.observe(at(0, 150))
    assert flow.current == 100
    flow.freeze()
    assert flow.current == 150


def test_a_woken_partition_stands_at_its_floor_until_it_has_caught_up():
    flow = flow_of(at(0, 100), at(1, 10, idle=True))
    flow.freeze()
    flow.observe(at(1, 20))
    assert (flow.current, flow.floor(1), flow.floor(0)) == (100, 100, NO_WATERMARK)
    flow.observe(at(0, 500))
    flow.freeze()
    assert flow.current == 100, "an awake partition's floor does not move"
    flow.observe(at(1, 300))
    assert flow.current == 300


def test_where_all_partitions_are_idle_nothing_moves():
    flow = flow_of(at(0, 100, idle=True), at(1, 10, idle=True))
    flow.freeze()
    assert flow.current == 10
    assert flow.floors == {}


def test_floors_wait_for_the_partitions_not_heard_of():
    flow = flow_of(at(0, 100), at(1, 10, idle=True))
    alone = flow_of(at(0, 100, of=3), at(1, 10, idle=True, of=3))
    flow.freeze()
    alone.freeze()
    assert flow.floors == {1: 100}
    assert alone.floors == {}


def test_an_idle_partition_without_any_event_does_not_hold_up_the_flow():
    flow = flow_of(at(0, 100), at(1, NO_WATERMARK, idle=True))
    flow.freeze()
    assert flow.current == 100


def test_the_end_of_a_bounded_input_is_beyond_all_times():
    flow = flow_of(at(0, END_OF_INPUT), at(1, 5))
    assert flow.current == 5
    flow.observe(at(1, END_OF_INPUT))
    assert ended(flow.current)
    assert not ended(2**61)


@st.composite
def epochs(draw):
    """Progress of 1 to 4 partitions over some epochs, each partition's watermark rising."""
    partitions = draw(st.integers(1, 4))
    marks = [NO_WATERMARK] * partitions
    result = []
    for _ in range(draw(st.integers(1, 6))):
        epoch = []
        for partition in draw(st.lists(st.integers(0, partitions - 1), max_size=8)):
            idle = draw(st.booleans())
            if not idle and draw(st.booleans()):
                marks[partition] = max(marks[partition], 0) + draw(st.integers(0, 50))
            epoch.append(at(partition, marks[partition], idle=idle, of=partitions))
        result.append(epoch)
    return result


def newest(epoch: list[Progress]) -> list[Progress]:
    return list({progress.partition: progress for progress in epoch}.values())


@given(epochs(), st.randoms())
def test_all_who_see_an_epochs_progress_agree_whatever_its_order_and_cuts(plan, random):
    one, other = FlowWatermark(), FlowWatermark()
    last = NO_WATERMARK
    for epoch in plan:
        for progress in epoch:
            one.observe(progress)
            assert one.current >= last, "the watermark never moves back"
            last = one.current
        shuffled = newest(epoch)
        random.shuffle(shuffled)
        for progress in shuffled:
            other.observe(progress)
        assert one.current == other.current
        one.freeze()
        other.freeze()
        assert one.current == other.current
        assert one.floors == other.floors
        assert one.current >= last
        last = one.current


@given(epochs())
def test_a_thawed_watermark_is_the_frozen_one_and_a_replay_moves_it_the_same(plan):
    flow = FlowWatermark()
    for epoch in plan:
        state = flow.freeze()
        again = FlowWatermark.thaw(state)
        assert again.current == flow.current
        assert again.floors == flow.floors
        for progress in epoch:
            flow.observe(progress)
            again.observe(progress)
            assert again.current == flow.current
    # No one is idle in a thawed watermark until the source says so again: it may be behind
    # one that was not interrupted, but never ahead.
    thawed = FlowWatermark.thaw(flow.freeze())
    assert thawed.current == flow.current
    thawed.freeze()
    assert thawed.current == flow.current


@pytest.mark.parametrize("mark", [0, 2**60])
def test_states_are_builtins(mark):
    flow = flow_of(at(0, mark, idle=True), at(1, mark))
    state = flow.freeze()
    assert state == {
        "seen": [("t", 0, 2, mark), ("t", 1, 2, mark)], "floors": {0: mark}, "current": mark
    }  # fmt: skip


def test_a_partition_that_was_added_joins_at_the_snapshot_that_the_flow_resumed_from():
    old = flow_of(at(0, 500), at(1, 700))
    state = old.freeze()

    def resumed() -> FlowWatermark:
        flow = FlowWatermark.thaw(state)
        for partition, mark in ((0, 500), (1, 700)):
            flow.observe(Progress("t", partition, 3, watermark=mark))
        return flow

    flow = resumed()
    # The third was not heard of, so nothing closes; what had closed by 500 stays closed.
    assert flow.current == NO_WATERMARK
    flow.observe(Progress("t", 2, 3, watermark=100))
    assert (flow.floor(2), flow.floors, flow.current) == (500, {2: 500}, 500)
    # Also after another crash, from before its first snapshot and from behind it.
    again = resumed()
    again.observe(Progress("t", 2, 3, watermark=650))
    assert again.floor(2) == 500
    later = FlowWatermark.thaw(flow.freeze())
    assert (later.floor(2), later.current) == (500, 500)


def test_a_partition_that_was_added_joins_at_its_floor_if_the_tables_are_further():
    flow = FlowWatermark()
    flow.observe(Progress("t", 0, 1, 4, 50))
    flow = FlowWatermark.thaw(flow.freeze())
    flow.observe(Progress("t", 1, 2, floor=70))
    assert flow.floor(1) == 70
    assert flow.current == 50
    flow.observe(Progress("t", 0, 2, 9, 90))
    assert flow.current == 70


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


def test_who_is_waited_for_is_the_one_furthest_behind_of_those_that_are_not_idle():
    assert FlowWatermark().waits_for is None
    flow = flow_of(at(0, 100), at(1, 10, idle=True))
    flow.freeze()
    assert flow.waits_for == at(0, 100)
    flow.observe(at(1, 20))
    flow.observe(at(0, 300))
    assert flow.waits_for == at(1, 20)
    idle = flow_of(at(0, 100, idle=True), at(1, 10, idle=True))
    assert idle.waits_for == at(1, 10, idle=True)


# --- the past, as tables have it -------------------------------------------------------------


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


def test_a_partition_behind_its_past_respects_what_the_tables_had_closed():
    flow = FlowWatermark()
    flow.observe(Progress("t", 0, 2, watermark=70, past=True))
    flow.observe(Progress("t", 1, 2, watermark=20, past=True))
    assert flow.current == 20
    # It was idle when the tables closed what was before 60.
    flow.observe(Progress("t", 1, 2, watermark=20, closed=60))
    assert (flow.current, flow.floor(1)) == (60, 60)
    resumed = FlowWatermark.thaw(flow.freeze())
    resumed.observe(Progress("t", 1, 2, watermark=30))
    assert (resumed.current, resumed.floor(1), resumed.floor(0)) == (60, 60, NO_WATERMARK)

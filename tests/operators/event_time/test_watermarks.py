import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.watermarks import (
    FlowWatermark,
    ended,
)
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress


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


def test_one_that_is_flushed_goes_on_to_the_largest_where_all_partitions_are_idle():
    flow = FlowWatermark(flushed=True)
    flow.observe(at(0, 100, idle=True))
    flow.freeze()
    assert flow.current == NO_WATERMARK
    flow.observe(at(1, 70, idle=True))
    assert flow.current == 70
    state = flow.freeze()
    assert flow.current == 100
    again = FlowWatermark.thaw(state, flushed=True)
    assert again.current == 100
    again.observe(at(1, 90))
    assert (again.current, again.floor(1)) == (100, 100)
    again.observe(at(0, 130))
    again.observe(at(1, 120))
    assert again.current == 120


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

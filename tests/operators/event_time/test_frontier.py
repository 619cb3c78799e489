import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.frontier import Frontier, Tracker, joining_floors
from operators.records.batches import NO_WATERMARK, Progress
from operators.records.tables import COORDINATES, TIME, Table

BY_OFFSET = Table("t", {**COORDINATES, "n": pl.Int64()})
BY_WINDOW = Table("w", {"window_end": TIME, "n": pl.Int64()}, fenced="by window", lateness=5)

places = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2))
frontiers = st.builds(
    Frontier,
    st.dictionaries(places, st.integers(0, 10)),
    st.one_of(st.just(NO_WATERMARK), st.integers(-5, 30)),
)


@given(frontiers, st.lists(st.tuples(places, st.integers(0, 12))))
def test_rows_by_offset_are_beyond_a_frontier_if_their_offset_is(frontier, at):
    rows = [(topic, partition, offset, i) for i, ((topic, partition), offset) in enumerate(at)]
    frame = pl.DataFrame(rows, schema=BY_OFFSET.columns, orient="row")
    expected = [row for row in rows if row[2] > frontier.offsets.get(row[:2], -1)]
    assert frontier.beyond(BY_OFFSET, frame).rows() == expected


@given(frontiers, st.lists(st.integers(-10, 40)))
def test_rows_by_window_are_beyond_a_frontier_if_they_close_behind_its_watermark(
    frontier, ends
):
    frame = pl.DataFrame(
        {"window_end": ends, "n": range(len(ends))}, schema_overrides={"window_end": pl.Int64}
    )
    frame = frame.cast({"window_end": TIME})
    expected = [
        i
        for i, end in enumerate(ends)
        if frontier.watermark == NO_WATERMARK or end + 5 > frontier.watermark
    ]
    assert frontier.beyond(BY_WINDOW, frame)["n"].to_list() == expected


@given(frontiers, frontiers, frontiers)
def test_a_joined_frontier_accounts_for_what_either_does(one, two, three):
    joined = one.joined(two)
    for place in {*one.offsets, *two.offsets}:
        known = [f.offsets[place] for f in (one, two) if place in f.offsets]
        assert joined.offsets[place] == max(known)
    assert joined.offsets.keys() == one.offsets.keys() | two.offsets.keys()
    assert joined.watermark == max(one.watermark, two.watermark)
    assert joined == two.joined(one)
    assert joined.joined(three) == one.joined(two.joined(three))
    assert one.joined(one) == one.joined(Frontier()) == one


def test_a_tracker_follows_the_progress_of_every_partition():
    tracker = Tracker()
    assert tracker.frontier == Frontier()
    tracker.observe(Progress("t", 0, 2, 7, watermark=50))
    tracker.observe(Progress("t", 1, 2))
    assert tracker.frontier == Frontier({("t", 0): 7})
    before = tracker.frontier
    tracker.observe(Progress("t", 1, 2, 3, watermark=20))
    assert tracker.frontier == Frontier({("t", 0): 7, ("t", 1): 3}, 20)
    assert before == Frontier({("t", 0): 7}), "a frontier that was asked for stays as it was"


def test_a_partition_joins_at_the_furthest_table_or_where_it_joined_before():
    old, new, slow = ("t", 0), ("t", 1), ("t", 2)
    tables = [Frontier({old: 9}, 50), Frontier({old: 12}, 70), Frontier()]
    assert joining_floors(tables, [new, slow]) == {new: 70, slow: 70}
    # What the tables held from the start has nothing to join.
    assert joining_floors(tables, [old]) == {}
    assert joining_floors([Frontier()], [new]) == {}
    # An epoch with it is in one table and not in the recovery store.
    tables.append(Frontier({old: 13, new: 4}, 90, {new: 70}))
    assert joining_floors(tables, [new, slow]) == {new: 70, slow: 90}


def test_a_tracker_tells_at_which_watermark_a_partition_joined():
    tracker = Tracker()
    tracker.observe(Progress("t", 0, 2, 5, 100))
    tracker.observe(Progress("t", 1, 2, -1, floor=70))
    assert tracker.frontier == Frontier({("t", 0): 5}, 70, {("t", 1): 70})
    later = Frontier({("t", 0): 6}, 80).joined(tracker.frontier)
    assert later == Frontier({("t", 0): 6}, 80, {("t", 1): 70})

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.joins import IntervalJoin, OpenIntervals
from operators.records.batches import Progress
from tests.examples import examples
from tests.operators.durable import Durable, End
from tests.operators.joins.sides import LEFT, RIGHT, actual, bounds_, check, joined
from tests.operators.streams import Event, events, frame, partitions, run


def oracle(
    lefts: list[Event], rights: list[Event], join: IntervalJoin
) -> list[tuple[Any, ...]]:
    rows = []
    for left in lefts:
        pairs = [
            right
            for right in rights
            if left.key is not None
            and right.key == left.key
            and left.time + join.lower <= right.time <= left.time + join.upper
        ]
        for right in pairs:
            settled = max(left.time, right.time) + 1
            rows.append((left.key, left.value, left.time, right.value, right.time, settled))
        if not pairs and join.how == "left":
            settled = left.time + max(join.upper, 0) + 1
            rows.append((left.key, left.value, left.time, None, None, settled))
    return sorted(rows, key=repr)


joins = st.builds(
    lambda low, width, *rest: IntervalJoin(LEFT, RIGHT, low, low + width, *rest),
    st.integers(-15, 10),
    st.integers(0, 20),
    st.sampled_from(["inner", "left"]),
    st.integers(0, 4),
)


@examples(1.5)
@given(joins, partitions(), partitions(), bounds_, st.integers())
def test_every_pair_once_whatever_the_arrival(join, left, right, bounds, seed):
    check(join, oracle, left, right, bounds, seed)


@given(joins, partitions(), partitions(), bounds_, st.integers())
def test_with_idle_partitions_every_record_is_joined_or_recorded_as_late(
    join, left, right, bounds, seed
):
    check(join, oracle, left, right, bounds, seed, idle=True)


@examples(0.4)
@given(joins, partitions(), partitions(), st.integers(), st.integers())
def test_the_rows_are_the_same_in_the_same_order_for_one_key_group(join, left, right, one, two):
    first, second = (
        joined(join, left, right, (5, 5), seed, groups=1).table() for seed in (one, two)
    )
    if first is None or second is None:
        assert first is second
        return
    key = ["settled_at"]
    assert first.sort(key, maintain_order=True).equals(second.sort(key, maintain_order=True))


def test_keys_that_share_a_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(
        "operators.state.event_time_buffer.hash_columns",
        lambda f, _: pl.zeros(f.height, pl.UInt64, eager=True).to_numpy(),
    )
    join = IntervalJoin(LEFT, RIGHT, 0, 10, "left")
    left, right = [[(0, "a", 1), (0, "b", 2)]], [[(5, "b", 3)]]
    out = joined(join, left, right, (0, 0), 1)
    assert actual(out) == oracle(events("l", left, 0), events("r", right, 0), join)


def test_a_null_key_is_equal_to_nothing():
    join = IntervalJoin(LEFT, RIGHT, 0, 10, "left")
    left, right = [[(0, None, 1), (1, "", 2)]], [[(5, None, 3), (6, "", 4)]]
    out = joined(join, left, right, (0, 0), 1)
    assert actual(out) == oracle(events("l", left, 0), events("r", right, 0), join)


def test_state_is_gone_when_the_watermark_has_passed_it():
    join = IntervalJoin(LEFT, RIGHT, -5, 10, "left")
    records = [[(t, "a", t) for t in range(120)]]
    joined_ = run(
        {"l": (records, 0), "r": (records, 0)},
        lambda: OpenIntervals(join, {"l": 1, "r": 1}),
        lambda t, f: {"l": LEFT, "r": RIGHT}[t].rows(f),
        lambda s, progress, rows: s.advance(progress, rows.get("l"), rows.get("r")),
        3, groups=1, end=False,
    )  # fmt: skip
    assert joined_.rows
    assert joined_.states[0].rows < 40


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lower": 2, "upper": 1}, "above"),
        ({"lower": 0, "upper": 1, "lateness": -1}, "lateness"),
    ],
)
def test_a_join_that_makes_no_sense_is_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        IntervalJoin(LEFT, RIGHT, **settings)


def test_a_partition_that_was_added_joins_where_the_flow_has_come_to():
    join = IntervalJoin(LEFT, RIGHT, 0, 10, "left")
    store = Durable(lambda: OpenIntervals(join, {"l": 1, "r": 1}))
    store.state.advance([Progress(topic, 0, 1, 5, 100) for topic in "lr"], None, None)
    store.end(End())
    store.make = lambda: OpenIntervals(join, {"l": 2, "r": 1})
    store.resume()
    records = events("l", [[], [(50, "a", 1), (100, "a", 2)]], 0)
    progress = [
        Progress("l", 0, 2, 6, 120), Progress("l", 1, 2, 1, 200), Progress("r", 0, 1, 6, 200)
    ]  # fmt: skip
    found = store.state.advance(progress, LEFT.rows(frame(records)), None)
    assert found.late is not None
    assert found.late["source_offset"].to_list() == [0]
    assert found.rows is not None
    assert found.rows["lv"].to_list() == [2]

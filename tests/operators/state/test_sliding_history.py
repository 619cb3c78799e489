from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.grouping import Sorted
from operators.columns.hashing import _mix
from operators.event_time.watermarks import PartitionWatermark
from operators.records.batches import NO_WATERMARK
from operators.state import folds
from operators.state import sliding_history as module
from operators.state.folds import NONE, Ask, turned
from operators.state.shards import Composite
from operators.state.sliding_history import TIME, Horizon, SlidingHistory
from tests.operators.durable import NOTHING, Durable, End, epoch_ends

HORIZONS = (7, 20, 100)
KEPT = (Horizon(7, 100), Horizon(20, 20), Horizon(100, 100))
ASKS = [
    Ask(at, fold, column, inclusive)
    for at in range(len(HORIZONS))
    for fold, column, inclusive in (
        ("count", "", False),
        ("sum", "amount", False),
        ("max", "value", False),
        ("min", "value", False),
        ("max", TIME, False),
        ("min", TIME, False),
        ("distinct", "value", False),
        ("distinct", "value", True),
    )
]
YEAR = 365 * 86_400_000_000


@pytest.fixture(autouse=True)
def _small_runs(monkeypatch):
    """Merge runs often, so that each of them holds something; count values in pieces."""
    monkeypatch.setattr(module, "_LEAST", 2)
    monkeypatch.setattr(folds, "_PAIRS_AT_ONCE", 20)


@st.composite
def events(draw, horizons=HORIZONS, max_size=60):
    """(key, time, amount) in order of arrival: hot keys, late, repeated and far times."""
    time, rows = draw(st.integers(0, 10**15)), []
    far = draw(st.booleans())
    for _ in range(draw(st.integers(1, max_size))):
        step = draw(
            st.one_of(
                st.integers(-3, 5),
                st.sampled_from(
                    [0, 1, -1, *horizons, *(-h for h in horizons), horizons[0] + 1]
                ),
                st.sampled_from([YEAR, 10 * YEAR, -YEAR]) if far else st.just(0),
            )
        )
        time = max(time + step, 0)
        key = draw(st.sampled_from([0, 0, 0, 1, 2, 2**63, 2**64 - 1]))
        rows.append((key, time, draw(st.integers(0, 10**12))))
    return rows


def value_of(amount):
    """What of an event is compared: few values, and sometimes none."""
    return None if amount % 3 == 0 else amount % 7 - 3


def fold(ask, own, mine):
    """Say what is asked of (time, amount) of an event's earlier ones, as the docstrings do."""
    values = [value_of(amount) for _, amount in mine]
    if ask.column == TIME:
        values = [time for time, _ in mine]
    if ask.fold == "count":
        return len(mine)
    if ask.fold == "sum":
        return sum(amount for _, amount in mine)
    values += [value_of(own)] if ask.inclusive else []
    there = [value for value in values if value is not None]
    if ask.fold == "distinct":
        return len(set(there))
    return (max if ask.fold == "max" else min)(there, default=None)


def brute_force(rows, bound, horizons=KEPT, asks=ASKS):
    result = []
    for i, (key, time, own) in enumerate(rows):
        mark = max(t for _, t, _ in rows[:i]) - bound if i else NO_WATERMARK
        mine = [
            [
                (t, amount)
                for k, t, amount in rows[:i]
                if k == key and time - each.before < t <= time and t > mark - each.kept
            ]
            for each in horizons
        ]
        result.append([fold(ask, own, mine[ask.horizon]) for ask in asks])
    return result


class Alone(Composite):
    """A history on its own, as a step's state."""

    VERSION = 1

    def __init__(self):
        self.history = SlidingHistory(KEPT, ASKS, ["amount", "value"])

    rows = property(lambda self: len(self.history))
    members = property(lambda self: {"history": self.history})


def run(rows, bound, cuts, ends=NOTHING):
    watermark, store = PartitionWatermark(bound), Durable(Alone)
    result = []
    bounds = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    for number, (a, b) in enumerate(pairwise(bounds)):
        part = rows[a:b]
        times = np.array([t for _, t, _ in part], np.int64)
        marks = watermark.advance(times)
        order = Sorted.by(np.array([k for k, _, _ in part], np.uint64))
        amounts = np.array([x for _, _, x in part], np.int64)
        values = np.array([NONE if value_of(x) is None else value_of(x) for *_, x in part])
        columns = {"amount": amounts[order.order], "value": values[order.order]}
        store.begin()
        found = store.state.history.advance(
            order, times[order.order], columns, marks[order.order], watermark.current
        )
        back = np.argsort(order.order)
        told = [
            (turned(each) if ask.fold == "min" else each)[back].tolist()
            for ask, each in zip(ASKS, found, strict=True)
        ]
        told = [[None if x == NONE else x for x in each] for each in told]
        result += map(list, zip(*told, strict=True))
        store.end(ends.get(number))
    return result, store


cuts = st.lists(st.integers(1, 60), max_size=8)


@given(events(), st.sampled_from([0, 3, 30, 1_000]), cuts)
def test_any_batches_count_and_sum_what_arrived_before_within_each_horizon(rows, bound, at):
    got, _ = run(rows, bound, at)
    assert got == brute_force(rows, bound)


@given(events(), st.sampled_from([0, 3, 30]), cuts, epoch_ends)
def test_a_history_written_in_parts_goes_on_as_if_nothing_had_happened(rows, bound, at, ends):
    got, _ = run(rows, bound, at, ends=ends)
    assert got == run(rows, bound, [])[0]


@given(events(max_size=40), st.data())
def test_one_event_a_batch_is_the_same_as_one_batch(rows, data):
    bound = data.draw(st.integers(0, 50))
    assert run(rows, bound, range(1, 60))[0] == run(rows, bound, [])[0]


def test_many_keys_and_long_batches_against_brute_force():
    random = np.random.default_rng(3)
    n = 600
    keys = _mix((random.zipf(1.4, n) % 40).astype(np.uint64))
    times = np.cumsum(random.integers(0, 4, n)) + random.integers(-40, 40, n) + 1_000
    rows = [(int(k), int(t), i) for i, (k, t) in enumerate(zip(keys, times, strict=True))]
    expected = brute_force(rows, 25)
    for at in ([], [280], range(0, n, 37)):
        assert run(rows, 25, at)[0] == expected
    for _ in range(5):
        # The end of the input while some parts have no entry yet, and others.
        ends = {
            number: End(*(random.random(3) < (0.4, 0.6, 0.2)).tolist())
            for number in np.flatnonzero(random.random(41) < 0.6).tolist()
        }
        assert run(rows, 25, range(0, n, 37), ends=ends)[0] == expected


def test_what_no_later_event_can_ask_for_is_dropped():
    rows = [(key, 10 * i + key, 1) for i in range(500) for key in range(4)]
    _, store = run(rows, 5, range(0, 2_000, 8))
    assert store.state.rows < 4 * (max(HORIZONS) + 10 * 8)
    # Old entries still hold some of it.
    ends = {number: End(resume=number == 249) for number in range(250)}
    _, resumed = run(rows, 5, range(0, 2_000, 8), ends=ends)
    assert resumed.state.rows <= 4 * (max(HORIZONS) + 10) / 10


def test_a_key_is_told_from_its_neighbours():
    rows = [(0, 10, 1), (2**64 - 1, 10, 1), (1, 10, 1), (2**63, 10, 1), (0, 10, 1)]
    assert [row[:2] for row in run(rows, 0, [])[0]] == [[0, 0]] * 4 + [[1, 1]]
    assert [row[:2] for row in run(rows, 0, [2, 3])[0]] == [[0, 0]] * 4 + [[1, 1]]

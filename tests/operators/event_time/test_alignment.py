import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.alignment import Alignment


def test_a_partition_far_ahead_of_one_with_a_backlog_waits():
    alignment = Alignment(10)
    alignment.observe(0, 100, backlog=True)
    alignment.observe(1, 110, backlog=True)
    assert not alignment.held(1)
    alignment.observe(1, 111, backlog=True)
    assert alignment.held(1)
    assert not alignment.held(0)
    alignment.observe(0, 101, backlog=True)
    assert not alignment.held(1)


def test_a_partition_at_its_end_holds_nobody():
    alignment = Alignment(10)
    alignment.observe(0, 100, backlog=False)
    alignment.observe(1, 1000, backlog=True)
    assert not alignment.held(1)
    alignment.observe(0, 100, backlog=True)
    assert alignment.held(1)
    alignment.forget(0)
    assert not alignment.held(1)


def test_an_unknown_partition_neither_waits_nor_holds():
    alignment = Alignment(0)
    assert not alignment.held(3)
    alignment.observe(0, 5, backlog=True)
    assert not alignment.held(0)
    assert not alignment.held(3)


def test_time_does_not_go_back():
    alignment = Alignment(10)
    alignment.observe(0, 100, backlog=True)
    alignment.observe(0, 50, backlog=True)
    alignment.observe(1, 105, backlog=True)
    assert not alignment.held(1)


def test_without_a_time_a_partition_is_where_it_was():
    alignment = Alignment(10)
    alignment.observe(0, 100, backlog=True)
    alignment.observe(1, 111, backlog=False)
    alignment.observe(2, None, backlog=True)
    assert alignment.held(1), "who has shown no time holds nobody"
    assert not alignment.held(2)
    alignment.observe(0, None, backlog=False)
    assert not alignment.held(1)


def test_a_negative_drift_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Alignment(-1)


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1), min_size=1, max_size=5),
    st.integers(0, 60),
)
def test_everything_is_read_and_nobody_runs_ahead(steps, drift):
    """Read partitions whose times grow by `steps` in turns, as far as they are not held."""
    alignment, place, time = Alignment(drift), [0] * len(steps), [0] * len(steps)
    left = sum(map(len, steps))
    while left:
        moved = False
        for partition, mine in enumerate(steps):
            at = place[partition]
            if at == len(mine) or alignment.held(partition):
                continue
            others = [
                t for p, t in enumerate(time) if p != partition and 0 < place[p] < len(steps[p])
            ]
            assert at == 0 or not others or time[partition] <= min(others) + drift
            time[partition] += mine[at]
            place[partition] += 1
            alignment.observe(partition, time[partition], backlog=place[partition] < len(mine))
            moved, left = True, left - 1
        assert moved, "somebody can always be read"

"""The breaker, on a clock of the tests' own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records.breaker import PROBE, Breaker, Runs, TooManyRejectsError


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_breaker_lets_single_refusals_and_short_bursts_pass():
    breaker = Breaker(0.5, over=10)
    for _ in range(100):
        assert not breaker.observe("t", 0, 1, 0)
        assert not breaker.observe("t", 0, 1, 1)
    breaker = Breaker(0.5, over=10)
    assert not breaker.observe("t", 0, 9, 9)
    assert not breaker.observe("t", 0, 9, 0)
    assert not breaker.holds(0)


def test_good_records_of_long_ago_or_of_another_partition_hide_no_bad_deploy():
    breaker = Breaker(0.5, over=10)
    breaker.observe("t", 0, 1_000_000, 0)
    breaker.observe("t", 1, 1_000_000, 0)
    assert breaker.observe("t", 0, 10, 10)
    assert (breaker.holds(0), breaker.holds(1)) == (True, False)


def test_a_ratio_of_one_and_empty_batches_never_pause():
    breaker = Breaker(1.0, over=1)
    for _ in range(5):
        assert not breaker.observe("t", 0, 1_000, 1_000)
    breaker = Breaker(0.1, over=1)
    assert not breaker.observe("t", 0, 0, 0)


def test_a_run_that_ends_ends():
    breaker = Breaker(0.5, over=10, ends=True)
    breaker.observe("t", 3, 10, 5)
    breaker.observe("t", 3, 4, 4)
    with pytest.raises(TooManyRejectsError, match=r"t/3: 10 of its last 10 .*MAX_REJECT_RATIO"):
        breaker.observe("t", 3, 6, 6)


def test_what_was_read_before_the_pause_does_not_end_it():
    clock = Clock()
    breaker = Breaker(0.5, over=10, clock=clock)
    breaker.observe("t", 0, 10, 10)
    assert not breaker.observe("t", 0, 5_000, 0)
    clock.now = 60
    assert not breaker.observe("t", 0, 5_000, 0)
    assert not breaker.holds(0)
    breaker.took(0, 0)
    assert not breaker.holds(0), "nothing had come to probe it with"
    breaker.took(0, 7)
    assert breaker.holds(0), "until they are judged"
    assert "read on: 0 of 7" in breaker.observe("t", 0, 7, 0)[0]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=30))
def test_each_probe_that_fails_doubles_the_pause_up_to_ten_minutes(steps):
    clock, wait, until = Clock(), 60, 60
    breaker = Breaker(0.5, over=1, clock=clock)
    breaker.observe("t", 0, 1, 1)
    for seconds, good in steps:
        clock.now += seconds
        assert breaker.holds(0) == (clock.now < until)
        assert breaker.most(0) == PROBE
        if clock.now < until:
            continue
        breaker.took(0, PROBE)
        (said,) = breaker.observe("t", 0, PROBE, 0 if good else PROBE)
        if good:
            assert not breaker.holds(0)
            assert breaker.most(0) is None
            return
        wait = min(2 * wait, 600)
        until = clock.now + wait
        assert f"100 records in {wait} s" in said


def runs(refused, carried=0):
    """Return what `Runs` has of a batch, record by record."""
    found, run = [], carried
    for each in refused:
        run = run + 1 if each else 0
        found.append(run)
    return found


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 5))
def test_runs_are_those_that_counting_finds_whatever_offsets_are_missing(refused, gap):
    offsets = np.arange(len(refused)) * gap + 7
    found = Runs.of(offsets, offsets[np.array(refused, bool)])
    counted = runs(refused)
    first = next((n for n, each in enumerate(refused) if not each), len(refused))
    assert found == (first, max(counted), counted[-1])


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_a_run_pauses_by_the_records_alone_however_they_are_cut_and_whenever_it_starts(
    refused, sizes, most
):
    """As where it reaches the number, in whatever batches, and in whatever process."""
    every = np.array(refused)

    def before(_, at):
        return (runs(refused[:at]) or [0])[-1]

    breaker, at, n = Breaker(0.99, run=most, before=before), 0, 0
    while at < len(refused):
        batch = np.arange(at, min(at + sizes[n % len(sizes)], len(refused)))
        bad = batch[every[batch]]
        if n % 3 == 2:  # started again
            breaker = Breaker(0.99, run=most, before=before)
        said = breaker.observe("t", 0, len(batch), len(bad), Runs.of(batch, bad), at)
        reached = max(runs(refused)[at : at + len(batch)]) >= most
        # As of what the last one was started with.
        assert bool(said) == reached
        if said:
            assert "in a row were refused, as many as MILLSTREAM_MAX_REJECT_RUN" in said[0]
            return
        at, n = at + len(batch), n + 1


def test_a_slow_partition_and_a_run_over_two_blocks_are_paused():
    breaker = Breaker(0.5, run=500)
    for number in range(499):
        assert not breaker.observe("t", 0, 1, 1, Runs(1, 1, 1), number)
    assert "500 records in a row" in breaker.observe("t", 0, 1, 1, Runs(1, 1, 1), 499)[0]
    breaker = Breaker(0.5, run=500)
    assert not breaker.observe("t", 0, 1_000, 300, Runs(0, 300, 300), 0)
    assert "600 records in a row" in breaker.observe("t", 0, 300, 300, Runs(300, 300, 300))[0]
    assert breaker.paused(0)
    for off in (Breaker(1.0, run=5), Breaker(0.5)):
        assert not off.observe("t", 0, 900, 900, Runs(900, 900, 900), 0)
    with pytest.raises(TooManyRejectsError, match=r"t/0: 5 records in a row .*MAX_REJECT_RUN"):
        Breaker(0.5, run=5, ends=True).observe("t", 0, 5, 5, Runs(5, 5, 5), 0)

"""Runs of panes in NumPy, against what a loop over every pane of each comes to."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.windows.sliding_sums import SAFE, beyond, different, over, summed

NUMBERS = st.integers(-(2**40), 2**40)
RUNS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 6), NUMBERS, st.integers(0, 4)), min_size=1
)


def columns(rows):
    return (np.array(column, np.int64) for column in zip(*rows, strict=True))


@given(st.lists(st.tuples(st.integers(-3, 3), NUMBERS), min_size=1))
def test_rows_of_a_key_are_added_up(rows):
    keys, values = columns(rows)
    at, place, sums = summed({"sum": values, "min": values, "max": values}, keys)
    of_key = defaultdict(list)
    for key, value in rows:
        of_key[key].append(value)
    assert keys[at].tolist() == sorted(of_key)
    assert keys[at[place]].tolist() == keys.tolist()
    for name, find in (("sum", sum), ("min", min), ("max", max)):
        assert sums[name].tolist() == [find(of_key[key]) for key in sorted(of_key)]


@given(RUNS)
def test_runs_add_what_lies_beyond_those_before_them(rows):
    begins, times, _, _ = columns(sorted(rows))
    seen: set[int] = set()
    for begin, length, first, more in zip(begins, times, *beyond(begins, times), strict=True):
        run = set(range(begin, begin + length))
        assert set(range(first, first + more)) == run - seen
        seen |= run


@given(RUNS)
def test_every_pane_has_what_its_runs_come_to(rows):
    begins, times, values, codes = columns(rows)
    covered = [(range(b, b + n), v, c) for b, n, v, c in rows]
    panes = sorted({pane for run, _, _ in covered for pane in run})
    rank = np.searchsorted(panes, begins)
    kinds = defaultdict(set)
    amounts = defaultdict(list)
    for run, value, code in covered:
        for pane in run:
            amounts[pane].append(value)
            kinds[pane].add(code)
    for name, find in (("sum of", sum), ("min of", min), ("max of", max)):
        found = over(name, values, rank, times, len(panes))
        assert found.tolist() == [find(amounts[pane]) for pane in panes]
    if panes:
        counts = different(rank, times, codes, len(panes))
        assert counts is not None
        assert counts.tolist() == [len(kinds[pane]) for pane in panes]


def test_what_takes_numbers_that_are_too_large_is_told():
    one = np.ones(1, np.int64)
    assert different(one - 1, one, one * int(SAFE // 4), 1) is not None
    assert different(one - 1, one, one * int(SAFE), 1) is None

"""Sorted runs: all rows are there, in few runs, and are moved a few times."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.sorted_runs import SortedRuns


class Merging:
    """Merges lists of numbers, and counts the numbers that it moves."""

    def __init__(self):
        self.moved = 0

    def __call__(self, runs):
        self.moved += sum(map(len, runs))
        return sorted(n for run in runs for n in run)


def test_the_sizes_of_the_docstring():
    runs, sizes = SortedRuns(Merging()), []
    for _ in range(10):
        runs.add([0] * 10)
        sizes.append(" ".join(str(len(run)) for run in runs))
    assert "  →  ".join([*sizes, "…"]) in SortedRuns.__doc__


@given(
    st.lists(st.lists(st.integers(0, 99), max_size=20), max_size=60),
    st.sampled_from([1.5, 2, 4]),
    st.sampled_from([0, 5, 30]),
)
def test_all_rows_are_there_in_runs_that_fall_in_size(batches, ratio, least):
    runs = SortedRuns(Merging(), ratio=ratio, least=least)
    for batch in batches:
        runs.add(sorted(batch))
        assert all(list(run) == sorted(run) and run for run in runs)
        sizes = [len(run) for run in runs]
        for at in range(len(sizes) - 1):
            assert sizes[at] >= least
            # Rows are only ever put behind a run that was large enough for them.
            assert sizes[at] >= ratio * min(len(batch), sizes[at + 1]) or not batch
    assert sorted(n for run in runs for n in run) == sorted(
        n for batch in batches for n in batch
    )
    assert len(runs) == sum(map(len, batches))


@pytest.mark.parametrize("ratio", [2, 4])
def test_few_runs_and_few_moves(ratio):
    merging = Merging()
    runs, batches = SortedRuns(merging, ratio=ratio), 1_000
    for at in range(batches):
        runs.add([at] * 3)
        assert len(list(runs)) <= 2 + log(batches, ratio)
    assert merging.moved <= ratio * log(batches, 2) * len(runs)


def test_what_a_merge_drops_is_gone_and_an_empty_run_is_none():
    runs = SortedRuns(lambda found: [n for run in found for n in run if n > 5])
    runs.add([])
    runs.add([1, 2])
    assert list(runs) == [[1, 2]]
    runs.add([3])
    assert list(runs) == []
    runs.add([7])
    runs.replace([[], [8, 9]])
    assert list(runs) == [[8, 9]]

"""Standard deviations of whole numbers of 64 bits, against fractions of any size."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.state.squares import DIGITS, deviations, digits
from tests.operators.features.aggregates import alike, deviation

LEAST, LARGEST = -(2**63), 2**63 - 1
of_any_size = st.integers(0, 63).flatmap(
    lambda bits: st.integers(max(LEAST, -(2**bits)), min(LARGEST, 2**bits))
)
close_by = st.tuples(st.integers(LEAST + 9, LARGEST - 9), st.lists(st.integers(-9, 9))).map(
    lambda drawn: [drawn[0] + step for step in drawn[1]]
)
samples = st.one_of(
    st.lists(of_any_size, max_size=40),
    st.lists(st.sampled_from([LEAST, LARGEST, LEAST + 1, 0, -1, 2**32, 2**32 - 1, -(2**32)])),
    close_by,
)


def made_of(drawn, order=1):
    """Return the deviations of samples, which are added up in one order or the other."""
    columns = [np.array(each[::order], np.int64) for each in drawn]
    sums = [
        np.array([int(np.sum(digits(each, digit))) for each in columns], np.int64)
        for digit in DIGITS
    ]
    totals = np.array([np.add.reduce(each) for each in columns], np.int64)
    return deviations(np.array([len(each) for each in columns]), totals, sums[0], sums[1:])


@given(st.lists(samples, min_size=1, max_size=6))
def test_they_are_what_fractions_say_however_large_the_numbers(drawn):
    made = [None if math.isnan(each) else each for each in made_of(drawn).tolist()]
    assert alike(made, [deviation(each) for each in drawn])
    assert np.array_equal(made_of(drawn, -1), made_of(drawn), equal_nan=True)


def test_many_of_the_largest_numbers():
    count = 2**17
    halves = np.where(np.arange(count) % 2, LARGEST, LEAST)
    told = 2**63 * math.sqrt(count / (count - 1))
    assert math.isclose(made_of([halves])[0], told, rel_tol=1e-15)

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.windows.sketches import HyperLogLog, LogHistogram


@pytest.mark.parametrize("n", [0, 1, 100, 1_000, 10_000, 200_000])
def test_hyperloglog_is_within_five_standard_errors(n):
    hll = HyperLogLog()
    estimate = hll.estimate(
        hll.of(pl.Series([f"v{i}" for i in range(n)], dtype=pl.String), []), 0
    )
    assert abs(estimate - n) <= 5 * 0.01625 * n


@pytest.mark.parametrize("sketch", [HyperLogLog(), LogHistogram()])
@given(
    values=st.lists(st.integers(-(10**9), 10**9), min_size=1), cuts=st.lists(st.integers(0, 9))
)
def test_a_sketch_does_not_depend_on_order_or_cuts(sketch, values, cuts):
    whole = sketch.of(pl.Series(values), [])
    random.Random(0).shuffle(values)
    merged, start = [], 0
    for size in cuts:
        merged = [sketch.of(pl.Series(values[start : start + size], dtype=pl.Int64), merged)]
        start += size
    assert sketch.of(pl.Series(values[start:], dtype=pl.Int64), merged) == whole


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=1
    ),
    st.floats(0.01, 1),
)
def test_a_quantile_is_within_one_in_128_of_the_value_of_its_rank(values, q):
    histogram = LogHistogram()
    estimate = histogram.estimate(histogram.of(pl.Series(values, dtype=pl.Float64), []), q)
    true = sorted(values)[int(np.ceil(q * len(values))) - 1]
    assert abs(estimate - true) <= abs(true) / 128

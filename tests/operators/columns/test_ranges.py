import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.ranges import repeats


@given(st.lists(st.integers(0, 5)))
def test_positions_are_repeated_with_a_count_of_their_own(sizes):
    at, step = repeats(np.array(sizes, np.int64))
    assert list(zip(at.tolist(), step.tolist(), strict=True)) == [
        (position, count) for position, size in enumerate(sizes) for count in range(size)
    ]

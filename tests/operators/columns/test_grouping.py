import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.grouping import distinct


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
@given(numbers=st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3)))
def test_each_number_is_there_once_and_they_ascend(kind, numbers):
    found = distinct(np.array(numbers, kind))
    assert found.dtype == kind
    assert found.tolist() == sorted(set(numbers))


def test_rows_and_columns_are_one():
    assert distinct(np.array([[3, 1], [1, -2]])).tolist() == [-2, 1, 3]

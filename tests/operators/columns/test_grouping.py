from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import grouping
from operators.columns.grouping import distinct, order_by


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
@given(numbers=st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3)))
def test_each_number_is_there_once_and_they_ascend(kind, numbers):
    found = distinct(np.array(numbers, kind))
    assert found.dtype == kind
    assert found.tolist() == sorted(set(numbers))


def test_rows_and_columns_are_one():
    assert distinct(np.array([[3, 1], [1, -2]])).tolist() == [-2, 1, 3]


KEYS = st.integers(0, 5) | st.integers(2**63, 2**63 + 5) | st.integers(0, 2**64 - 1)
NUMBERS = st.integers(-3, 3) | st.integers(-(2**40), 2**40)


@given(rows=st.lists(st.tuples(KEYS, NUMBERS, KEYS)), spared=st.sampled_from([0, 20, 32, 60]))
def test_the_order_is_by_key_and_number_whatever_a_key_has_of_its_bits(rows, spared):
    keys = np.array([key for key, _, _ in rows], np.uint64)
    numbers = np.array([number for _, number, _ in rows], np.int64)
    beside = np.array([other for _, _, other in rows], np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_SPARED", spared)
        alone = order_by(keys)
        both = order_by(keys, numbers)
        hashed = order_by(keys, numbers, beside)
    assert alone.tolist() == np.argsort(keys, kind="stable").tolist()
    expected = sorted((key, number) for key, number, _ in rows)
    for order in (both, hashed):
        assert sorted(order.tolist()) == list(range(len(rows)))
        found = zip(keys[order].tolist(), numbers[order].tolist(), strict=True)
        assert list(found) == expected


def test_what_has_the_same_hash_beside_comes_together():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, 50, np.uint64)[rng.integers(0, 50, 2_000)]
    beside = rng.integers(0, 2**64, 4, np.uint64)[rng.integers(0, 4, 2_000)]
    order = order_by(keys, np.zeros(2_000, np.int64), beside)
    pairs = [(keys[at], beside[at]) for at in order]
    changes = sum(one != other for one, other in pairwise(pairs))
    assert changes + 1 == len(set(pairs))

"""Tests of finding places."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.finding import Finder

_NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 2**63 - 2))


@given(st.lists(_NUMBERS, max_size=200), st.lists(_NUMBERS, max_size=50), st.booleans())
def test_places_are_those_of_a_binary_search(
    numbers: list[int], sought: list[int], unsigned: bool
) -> None:
    kind = np.uint64 if unsigned else np.int64
    ordered = np.sort(np.array(numbers, kind))
    if unsigned:
        # Hashes have the highest bit too.
        ordered *= kind(2)
    asked = np.array([*sought, *ordered.tolist()], kind)
    found = Finder(ordered).places(asked)
    assert found.tolist() == np.searchsorted(ordered, asked).tolist()


def test_many_of_one_number_and_few_far_away_are_found() -> None:
    ordered = np.array([0, *[7] * 5_000, 8, 2**62, 2**62])
    asked = np.array([2**62 + 1, 8, 0, 2**62, 7, 6, 9])
    assert Finder(ordered).places(asked).tolist() == [5_004, 5_001, 0, 5_002, 1, 1, 5_002]

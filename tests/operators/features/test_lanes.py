import logging
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.features.lanes import Conditions, ordered, restored

SHOPS = pl.DataFrame({"shop": ["5", "x", None, "7", "1", "y"]})


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_fractions_have_numbers_in_their_order_and_come_back(values):
    column = pl.Series(values, dtype=pl.Float64)
    numbers = ordered(column)
    for a, x in zip(values, numbers.tolist(), strict=True):
        for b, y in zip(values, numbers.tolist(), strict=True):
            assert (a < b) == (x < y)
    unknown = np.zeros(len(values), bool)
    assert restored("c", numbers, unknown, pl.Float64()).to_list() == values


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([3, -(2**31), 2**31 - 1], pl.Int32()),
        ([2**62, -(2**62), 0], pl.Int64()),
        ([date(2000, 1, 1), date(1960, 5, 5)], pl.Date()),
        ([1.5, -2.5], pl.Float32()),
    ],
)
def test_values_come_back_as_they_were_and_null_where_unknown(values, dtype):
    numbers = ordered(pl.Series(values, dtype=dtype))
    unknown = np.zeros(len(values), bool)
    unknown[0] = True
    back = restored("c", numbers, unknown, dtype)
    assert (back.dtype, back.to_list()) == (dtype, [None, *values[1:]])


def test_a_condition_that_fails_on_an_event_is_not_true_of_it_and_says_so_once(caplog):
    text = "CAST(shop AS INT) > 3"
    conditions = Conditions([text, "shop IS NOT NULL"])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            masks = conditions.masks(SHOPS)
            assert masks[text].tolist() == [True, False, False, True, False, False]
            assert masks["shop IS NOT NULL"].tolist() == [True, True, False, True, True, True]
    (record,) = caplog.records
    assert "TRY_CAST makes null of what CAST cannot read" in record.getMessage()
    # What it advises.
    caplog.clear()
    tried = Conditions([text.replace("CAST", "TRY_CAST")])
    assert next(iter(tried.masks(SHOPS).values())).tolist() == masks[text].tolist()
    assert not caplog.records


def test_a_condition_says_of_an_event_alone_what_it_says_among_others():
    frame = pl.DataFrame({"amount": np.arange(50)})
    conditions = Conditions(["amount / 3 > 10"])
    whole = conditions.masks(frame)["amount / 3 > 10"]
    for at in range(50):
        alone = conditions.masks(frame[at])["amount / 3 > 10"]
        assert alone.tolist() == [whole[at]]

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from operators.columns.times import in_micros
from operators.records.batches import NO_WATERMARK
from operators.records.tables import TIME

NOON = datetime(2026, 1, 2, 12, 0, 0, 7, tzinfo=UTC)
BEFORE_1970 = datetime(1969, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "times", [[], [NOON], [None], [NOON, None, datetime(1969, 1, 1, tzinfo=UTC)]]
)
def test_as_polars_has_them(times):
    series = pl.Series(times, dtype=TIME)
    expected = series.to_physical().fill_null(NO_WATERMARK).to_list()
    assert in_micros(series).dtype == np.int64
    assert in_micros(series).tolist() == expected


def test_of_other_units_and_of_numbers():
    assert in_micros(pl.Series([NOON], dtype=pl.Datetime("ns"))).tolist() == [
        int(NOON.timestamp()) * 1_000_000 + 7
    ]
    assert in_micros(pl.Series([5, -1])).tolist() == [5, -1]

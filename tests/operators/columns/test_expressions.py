import polars as pl
import pytest
from polars.exceptions import PolarsError

from operators.columns.expressions import one_row, select_rows

FRAME = pl.DataFrame({"n": [1, 2, 3], "t": ["now()", "a", "b"]}).with_columns(
    day=pl.date(2024, 1, pl.col("n"))
)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("day > DATE '2024-01-02'", [False, False, True]),
        ("CAST(day AS TIMESTAMP) < TIMESTAMP '2024-01-02 00:00:00'", [True, False, False]),
        ("t = 'now()'", [True, False, False]),
        ("n > 1 AND t <> 'sum over'", [False, True, True]),
        # What reads no column has one value for all rows, of which there may be none.
        ("true", [True, True, True]),
        ("1 + 1", [2, 2, 2]),
    ],
)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_expression_has_a_value_for_each_row(sql, found, rows):
    made = select_rows(FRAME.head(rows), [one_row(sql).alias("made")])
    assert made["made"].to_list() == found[:rows]


@pytest.mark.parametrize("sql", ["sum(n) > 2", "day > current_date", "t = now()", "n > "])
def test_what_looks_elsewhere_is_refused(sql):
    with pytest.raises(PolarsError):
        one_row(sql)

"""The topology's own pieces, without an engine."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from flows.rows import alerts_behind


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 9))),
    st.dictionaries(
        st.sampled_from(["a", "c"]), st.dictionaries(st.integers(0, 2), st.integers(0, 9))
    ),
)
def test_alerts_of_records_that_an_older_rule_was_asked_of_are_left_out(rows, since):
    kinds = {
        "rule_id": pl.String(),
        "source_partition": pl.Int32(),
        "source_offset": pl.Int64(),
    }
    alerts = pl.DataFrame(rows, schema=kinds, orient="row")
    kept = [row for row in rows if row[2] > since.get(row[0], {}).get(row[1], -1)]
    assert alerts_behind(since, alerts).rows() == kept

"""Which rows verify holds to today's definitions."""

import polars as pl

from operators.connectors.delta.definitions import Told
from ops.verify.since import Compared, since, since_aggregates

AT = {("t", 0): 5, ("other", 0): 9}


def test_rows_behind_the_newest_text_are_compared_if_that_is_todays():
    assert since(None, "1", "t") == since([Told("1")], "1", "t") == {}
    assert since([Told("1"), Told("2", AT)], "2", "t") == {0: 5}
    assert since([Told("1"), Told("2", AT)], "1", "t") is None
    assert since([Told("1"), Told(None, AT)], "1", "t") is None


def test_alerts_of_rules_that_were_others_are_not_and_those_of_none_are():
    rows = pl.DataFrame(
        {
            "rule_id": ["new", "new", "new", "gone", "same", "unknown"],
            "source_partition": [0, 0, 1, 0, 0, 0],
            "source_offset": [5, 6, 5, 9, 1, 1],
        }
    )
    kept = Compared({"new": {0: 5}, "gone": None, "same": {}}).of(rows)
    assert kept.rows() == [("new", 0, 6), ("new", 1, 5), ("same", 0, 1), ("unknown", 0, 1)]


def test_aggregates_that_were_always_there_have_no_beginning():
    told = {
        "aggregate a": [Told("1")],
        "aggregate b": [Told("1", {}, 70)],
        "window": [Told("w")],
    }
    assert since_aggregates(told) == {"b": 70}

"""A contract holds rows to it and not what is left of them when they are deleted."""

import polars as pl

from operators.changes import check_rows
from operators.contracts import Contract
from operators.contracts.checks import Check, span
from operators.contracts.repairs import Repair


def test_only_rows_are_checked_and_all_stay_where_they_were():
    contract = Contract(
        [Check("range", ("n",), "0 to 9", span("n", 0, 9))],
        [Repair("n", "unit", divided_by=10)],
    )
    frame = pl.DataFrame(
        {"n": [None, 5, 90, None, 900, 7], "deleted": [True, False, False, True, False, False]}
    )
    found = check_rows(contract.check, frame, pl.Series([0] * 6))
    assert found.frame["n"].to_list() == [None, 5, 9, None, 900, 7]
    assert found.good.to_list() == [True, True, True, True, False, True]
    assert [(each.row, each.code) for each in found.refusals] == [(4, "range")]
    assert found.repaired == {("n", "unit"): 1}
    notes = found.frame["repairs"].is_not_null().to_list()
    assert notes == [False, False, True, False, False, False]

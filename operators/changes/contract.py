"""The contract of rows: what is left of them when they are deleted is not held to it."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from operators.changes.spec import DELETED
from operators.columns.frames import filtered, stacked, taken
from operators.contracts.contract import Checked
from operators.contracts.repairs import REPAIRS
from operators.contracts.warnings import WARNINGS


def check_rows(
    check: Callable[[pl.DataFrame, pl.Series], Checked], frame: pl.DataFrame, stamps: pl.Series
) -> Checked:
    """Check changes as `check` does rows, all but deletions."""
    gone = frame[DELETED]
    if not gone.any():
        return check(frame, stamps)
    found = check(filtered(frame, ~gone), stamps.filter(~gone))
    kept, left = (~gone).arg_true(), gone.arg_true()
    rest = filtered(frame, gone)
    for told in (REPAIRS, WARNINGS):
        if told in found.frame.columns:
            rest = rest.with_columns(pl.lit(None, pl.String()).alias(told))
    # Back to where each was.
    places = kept.append(left).arg_sort().to_numpy()
    good = found.good.append(pl.repeat(value=True, n=rest.height, eager=True))
    rows = kept.to_list()
    return found._replace(
        good=good[places],
        refusals=[replace(each, row=rows[each.row]) for each in found.refusals],
        frame=taken(stacked([found.frame, rest]), places),
    )

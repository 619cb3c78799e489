"""Warnings: which checks a record breaks for all that it passes, told on its row and counted."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import polars as pl

WARNINGS: Final = "contract_warnings"
"""The column of codes that a good record breaks, with commas, null where there are none."""


def warned(
    rows: pl.DataFrame, holds: Sequence[tuple[str, pl.Expr]], good: pl.Series
) -> tuple[pl.Series, Counter[str]]:
    """Return of each row the codes that it breaks, as `WARNINGS`, and how many good rows by code.

    `holds` are what must hold, with their codes, of which one may come several times: a row counts
    once for it.
    """
    codes: dict[str, list[pl.Expr]] = {}
    for code, each in holds:
        codes.setdefault(code, []).append(each)
    nothing = pl.Series(WARNINGS, [None], pl.String).new_from_index(0, rows.height)
    if not codes:
        return nothing, Counter()
    broken = rows.select_seq(
        (~pl.all_horizontal(each).fill_null(value=False)).alias(code)
        for code, each in codes.items()
    )
    counts = {code: int((broken[code] & good).sum()) for code in codes}
    if not any(broken[code].any() for code in codes):
        return nothing, Counter()
    names = [pl.when(pl.col(code)).then(pl.lit(code)) for code in codes]
    text = pl.concat_str(names, separator=",", ignore_nulls=True)
    told = broken.select_seq(pl.when(text != "").then(text).alias(WARNINGS)).to_series()
    return told, Counter({code: count for code, count in counts.items() if count})

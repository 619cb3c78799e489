"""SQL expressions over one row."""

import re
from collections.abc import Sequence
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from operators.columns.frames import in_one_chunk

_NOT_OF_ONE_ROW: Final = re.compile(
    r'"(Agg|Over|Window|Rolling|SubPlan|Len|Gather|Filter|Sort|Rank|Shift|Diff|Cum\w+|'
    r'Quantile|Correlation|Explode)"'
)
_CLOCK: Final = re.compile(
    r"\b(now\s*\(|current_(date|time|timestamp)\b|localtime(stamp)?\b)", re.IGNORECASE
)
_TEXT: Final = re.compile(r"'[^']*'")
# What says no word stays: a date's text is part of what the expression is.
_WORDLESS: Final = re.compile(r"'[-+\d:. TZ]*'")


def one_row(sql: str) -> pl.Expr:
    """Return the expression, which may only look at one row; raises PolarsError if not.

    What it says of an event must depend neither on the batch that the event came in nor on
    the clock.
    """
    expression = pl.sql_expr(sql)
    # Without its texts: what a text says is not what the expression does.
    bare = _TEXT.sub(lambda text: text[0] if _WORDLESS.fullmatch(text[0]) else "''", sql)
    if _NOT_OF_ONE_ROW.search(pl.sql_expr(bare).meta.serialize(format="json")):
        raise PolarsError(f"{sql!r} looks at more than one event; use its own columns")
    if _CLOCK.search(bare):
        raise PolarsError(f"{sql!r} looks at the clock; a replay would say something else")
    return expression


def select_rows(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    """Select row by row; what reads no column has its one value in each.

    Polars divides a single value by a constant, be it a frame's one row or a chunk's, and
    multiplies several by its reciprocal; the last bit of a score must not depend on the batch.
    """
    if frame.height == 1:
        # Made of series: Polars keeps a row that is repeated by itself as the single value.
        twice = pl.DataFrame([s.clone().append(s) for s in frame]).rechunk()
        return twice.select_seq(expressions).head(1)
    made = in_one_chunk(frame).select_seq(expressions)
    return made if made.height == frame.height else made[[0] * frame.height]

"""SQL expressions over one row."""

import re
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

_NOT_OF_ONE_ROW: Final = re.compile(
    r'"(Agg|Over|Window|Rolling|SubPlan|Len|Gather|Filter|Sort|Rank|Shift|Diff|Cum\w+)"'
)


def one_row(sql: str) -> pl.Expr:
    """Return the expression, which may only look at one row; raises PolarsError if not.

    What it says of an event must not depend on the batch that the event came in.
    """
    expression = pl.sql_expr(sql)
    if _NOT_OF_ONE_ROW.search(expression.meta.serialize(format="json")):
        raise PolarsError(f"{sql!r} looks at more than one event")
    return expression

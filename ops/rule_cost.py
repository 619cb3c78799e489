"""What a rule costs: its condition, which every event is asked, timed on events made up."""

import time
from functools import cache
from typing import Final

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from flows.streams import Stream
from operators.columns.expressions import select_rows
from operators.rules.rule import Rule

EVENTS: Final = 20_000
"""As many as a full batch has."""

_TIMES: Final = 9


def made_up(stream: Stream) -> pl.DataFrame:
    """Return events with all that rules may use, of values as they may be; no two runs differ."""
    return _made_up(tuple(stream.columns.items()))


@cache
def _made_up(wanted: tuple[tuple[str, pl.DataType], ...]) -> pl.DataFrame:
    luck = np.random.default_rng(0)
    numbers = luck.integers(0, 100_000, EVENTS)
    texts = pl.Series([f"text-{n}" for n in range(500)])
    columns = []
    for name, dtype in wanted:
        values = luck.permutation(numbers)
        if dtype == pl.String:
            column = texts.gather(values % len(texts))
        elif dtype == pl.Boolean:
            column = pl.Series(values % 2 == 0)
        elif dtype.is_temporal():
            column = pl.Series(1_500_000_000_000_000 + values * 1_000_000).cast(dtype)
        else:
            column = pl.Series(values).cast(dtype)
        columns.append(column.alias(name))
    return pl.DataFrame(columns)


def cost(rule: Rule, events: pl.DataFrame) -> float | None:
    """Return what the rule's condition costs in CPU µs per 1,000 events, the best of a few times.

    An alert costs more, but few events have one. None if it fails on what is made up.
    """
    took = []
    for _ in range(_TIMES):
        began = time.process_time()
        try:
            select_rows(events, [rule.condition])
        except PolarsError:
            return None
        took.append(time.process_time() - began)
    return min(took) * 1e6 / (events.height / 1_000)

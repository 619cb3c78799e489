"""Plain approvals as decisions: a row each where every event is to have one, column by column."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from operators.columns.arrays import Bools
from operators.columns.frames import filtered
from operators.decisions.columns import ids_of
from operators.decisions.words import PLAIN

_SAME: Final[Mapping[str, Any]] = {
    "decision": "approve",
    "decided_by": "rules",
    "score": 0.0,
    "hits": None,
    "model_share": 0.0,
    "without_model": False,
    "sentence": PLAIN,
}


def plainly(
    events: pl.DataFrame,
    which: Bools,
    columns: Mapping[str, pl.DataType],
    known: Mapping[str, pl.Series],
    model: str | None,
) -> pl.DataFrame:
    """Return decisions that approve those of n events that `which` has plainly, shape (n,).

    `columns` are those of decisions, `known` are some of them of all events; `model` was asked.
    """
    own = events[[name for name in columns if name in events.columns]]
    mine = own if which.all() else filtered(own, pl.Series(which))
    n, rows = mine.height, pl.Series(which)
    made = {"decision_id": ids_of(mine)}
    made |= {
        name: each if n == len(each) else each.filter(rows) for name, each in known.items()
    }
    same = {**_SAME, "model": model}
    found = []
    for name, kind in columns.items():
        if name in made:
            column = made[name]
        elif name in same or name not in mine.columns:
            column = pl.Series(name, [same.get(name)], kind).new_from_index(0, n)
        else:
            column = mine[name]
        found.append((column if column.dtype == kind else column.cast(kind)).alias(name))
    return pl.DataFrame(found)


def plain_texts(decisions: pl.DataFrame) -> Iterator[bytes]:
    """Yield plain approvals as JSON, as messages have them: a quarter of what each alone takes.

    Their times are such as Python has.
    """
    times = decisions["event_time"].dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    stated = {
        "event_time": times.str.replace(".000000Z", "Z", literal=True),
        "hits": pl.Series([[]], dtype=pl.List(pl.Int64())).new_from_index(0, len(times)),
    }
    columns = [stated.get(each.name, each).alias(each.name) for each in decisions.get_columns()]
    texts = pl.DataFrame(columns).to_struct().struct.json_encode()
    return (text.encode() for text in texts.to_list())

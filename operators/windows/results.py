"""Results: the aggregates of merged partials, which `accumulators` makes."""

from typing import Final

import polars as pl

from operators.windows.agg import Aggregate
from operators.windows.sketches import SKETCHES

WIDE: Final = pl.Int128()
"""Has room for any sum of Int64."""


def sketch_name(each: Aggregate) -> str:
    """Return the name of the column of values from which an aggregate is estimated."""
    return f"{each.kind} {each.exact} {each.column}"


def sketch_of(name: str) -> str:
    """Return the name of the column of sketches beside that of `sketch_name`."""
    return f"sketch of {name}"


def result(partials: pl.DataFrame, each: Aggregate, *, decimal: bool) -> pl.Series:
    """Return an aggregate, of a `decimal` column or another, shape (n,)."""
    column = each.column
    match each.kind:
        case "count":
            return partials["count"]
        case "sum":
            total = pl.col(f"sum {column}")
            if not decimal:
                total = total.cast(pl.Int64, strict=False)
            some = pl.when(pl.col(f"values {column}") > 0).then(total)
            return partials.select(some).to_series()
        case "mean":
            total, number = pl.col(f"sum {column}"), pl.col(f"values {column}")
            mean = total.cast(pl.Float64) / number.cast(pl.Float64)
            return partials.select(pl.when(number > 0).then(mean)).to_series()
        case "stddev":
            total, squares = pl.col(f"sum {column}"), pl.col(f"squares {column}")
            n = pl.col(f"values {column}").cast(WIDE)
            above = (n * squares - total * total).cast(pl.Float64)
            deviation = (above / (n * (n - 1)).cast(pl.Float64)).sqrt()
            return partials.select(pl.when(n > 1).then(deviation)).to_series()
        case "min" | "max":
            return partials[f"{each.kind} {column}"]
        case "first" | "last":
            return partials[f"{each.kind} {column}"].struct.field("value")
        case "distinct" | "quantile":
            return _estimated(partials, each)


def _estimated(partials: pl.DataFrame, each: Aggregate) -> pl.Series:
    name, sketch = sketch_name(each), SKETCHES[each.kind]
    values = pl.col(name)
    if each.kind == "distinct":
        exact = partials.select(values.list.len().cast(pl.Float64)).to_series()
    else:
        rank = (values.list.len() * each.q).ceil().cast(pl.Int64).clip(1) - 1
        of_rank = values.list.sort().list.get(rank, null_on_oob=True)
        exact = partials.select(of_rank.cast(pl.Float64)).to_series()
    sketches = partials[sketch_of(name)]
    heavy = sketches.is_not_null().arg_true()
    if len(heavy):
        exact = exact.scatter(heavy, [sketch.estimate(s, each.q) for s in sketches[heavy]])
    return exact.cast(pl.Int64) if each.kind == "distinct" else exact

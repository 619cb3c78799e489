"""What an aggregate comes to, by a loop, and what events have that it is of."""

import math
from fractions import Fraction

import polars as pl

OF_EVENTS = {
    "card": pl.String(),
    "shop": pl.String(),
    "amount": pl.Int64(),
    "size": pl.Int64(),
    "tip": pl.Int32(),
}
"""Columns that events of these tests have."""


def aggregated(aggregate, values):
    """Return that of values, of which those that are null or no number do not count."""
    values = [v for v in values if v is not None and v == v]
    if aggregate == "distinct":
        return len(set(values))
    if aggregate == "sum":
        return sum(values)
    if aggregate == "stddev":
        return deviation(values)
    if aggregate == "mean":
        return sum(values) / len(values) if values else None
    return (min if aggregate == "min" else max)(values, default=None)


def deviation(values):
    """Return the standard deviation of a sample of whole numbers, by fractions of any size."""
    if len(values) < 2:
        return None
    mean = Fraction(sum(values), len(values))
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def alike(made, told):
    """Tell whether values are those that are told, a deviation but for its last bits."""
    return len(made) == len(told) and all(
        one == other
        or (isinstance(one, float) and math.isclose(one, other, rel_tol=1e-15, abs_tol=0))
        for one, other in zip(made, told, strict=True)
    )

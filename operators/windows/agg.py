"""Aggregates: what a window says of its records. No result depends on their order.

Nulls are left out, as in SQL: an aggregate over no value is null, a count 0. So are the records
for which `where`, an SQL expression over one record, is not true: SQL's FILTER (WHERE …).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from operators.columns.expressions import one_row

Kind = Literal[
    "count", "sum", "min", "max", "mean", "stddev", "first", "last", "distinct", "quantile"
]

EXACT_DISTINCT: Final = 1_000
"""Up to so many different values a window's distinct count is exact by default."""

EXACT_QUANTILE: Final = 1_000
"""Up to so many values a window's quantiles are exact by default."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a window: its kind and the column it is over (none for a count).

    `q` is the quantile, in (0, 1]; `exact` how many values distinct and quantile keep before
    they become estimates; `where`, if given, picks the records that it is over.
    """

    kind: Kind
    column: str = ""
    q: float = 0.5
    exact: int = EXACT_DISTINCT
    where: str = ""

    def __post_init__(self) -> None:
        if bool(self.column) == (self.kind == "count"):
            raise ValueError(
                f"the aggregate {self.kind} takes {'no' if self.column else 'a'} column"
            )
        if not 0 < self.q <= 1:
            raise ValueError(f"{self.q} is no quantile in (0, 1]")

    def result(self, columns: Mapping[str, pl.DataType]) -> pl.DataType:
        """Return the result's type; `columns` are those of the records."""
        if self.kind in ("count", "distinct"):
            return pl.Int64()
        if self.kind in ("mean", "stddev", "quantile"):
            return pl.Float64()
        dtype = columns[self.column]
        return pl.Int64() if self.kind == "sum" and dtype.is_integer() else dtype

    @property
    def over(self) -> "Aggregate":
        """The same over a column that is null, or for a count 0 and not 1, where `where` is not.

        `masked` makes that column.
        """
        if not self.where:
            return self
        kind: Kind = "sum" if self.kind == "count" else self.kind
        return Aggregate(kind, f"{self.column or 1} where {self.where}", self.q, self.exact)

    @property
    def masked(self) -> pl.Expr:
        """The column of `over`; raises PolarsError unless `where` is of one record."""
        picked = one_row(self.where)
        if self.kind == "count":
            return picked.fill_null(value=False).cast(pl.Int64).alias(self.over.column)
        return pl.when(picked).then(pl.col(self.column)).alias(self.over.column)


def count(*, where: str = "") -> Aggregate:
    """Return the number of records, Int64."""
    return Aggregate("count", where=where)


def sum(column: str, *, where: str = "") -> Aggregate:
    """Return the exact sum of integers (Int64, null beyond it) or decimals."""
    return Aggregate("sum", column, where=where)


def min(column: str, *, where: str = "") -> Aggregate:
    """Return the smallest value, of the column's type."""
    return Aggregate("min", column, where=where)


def max(column: str, *, where: str = "") -> Aggregate:
    """Return the largest value, of the column's type."""
    return Aggregate("max", column, where=where)


def mean(column: str, *, where: str = "") -> Aggregate:
    """Return the exact sum of integers or decimals over their number, Float64."""
    return Aggregate("mean", column, where=where)


def stddev(column: str, *, where: str = "") -> Aggregate:
    """Return the sample standard deviation of integers, Float64; null below two values.

    From exact sums in 128 bits, which hold where (number x largest value)² < 1.7e38.
    """
    return Aggregate("stddev", column, where=where)


def first(column: str, *, where: str = "") -> Aggregate:
    """Return the value of the earliest record that has one (event time, partition, offset)."""
    return Aggregate("first", column, where=where)


def last(column: str, *, where: str = "") -> Aggregate:
    """Return the value of the latest record that has one (event time, partition, offset)."""
    return Aggregate("last", column, where=where)


def distinct(column: str, exact: int = EXACT_DISTINCT, *, where: str = "") -> Aggregate:
    """Return the number of different values, Int64; a HyperLogLog estimate beyond `exact`."""
    return Aggregate("distinct", column, exact=exact, where=where)


def quantile(
    column: str, q: float, exact: int = EXACT_QUANTILE, *, where: str = ""
) -> Aggregate:
    """Return the value of rank ⌈q·n⌉ (nearest rank), Float64; beyond `exact` within 0.8 %."""
    return Aggregate("quantile", column, q, exact, where)


class InexactError(TypeError):
    """A sum of this column's type would depend on the order of its rows."""


def refuse_inexact(
    schema: Mapping[str, pl.DataType], aggregates: Mapping[str, Aggregate]
) -> None:
    """Raise InexactError for sums of floats and deviations of anything but integers."""
    for name, each in aggregates.items():
        if each.kind not in ("sum", "mean", "stddev"):
            continue
        dtype = schema[each.column]
        if not (dtype.is_integer() or (dtype.is_decimal() and each.kind != "stddev")):
            raise InexactError(
                f"{name}: the {each.kind} of {each.column} ({dtype}) would depend on the order "
                "of its rows: give integers of a minor unit"
                + ("" if each.kind == "stddev" else " or decimals")
            )

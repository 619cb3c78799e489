"""Checks: what may have to hold of a record's fields, as expressions on columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import polars as pl

KAFKA_TIME: Final = "__kafka_timestamp_ms"
"""The column of the records' Kafka times beside their fields, ms."""

_FIRST: Final = -62_135_596_800_000_000  # of the year 1
_LAST: Final = 253_402_300_799_999_999  # of the year 9999
_MOST_KNOWN: Final = 30_000

Holds: TypeAlias = pl.Expr | Callable[[int], pl.Expr]
"""True, false, or null; or that as a function of how far in µs an event may be ahead."""


Severity = Literal["warn", "quarantine", "stop"]
"""What becomes of a row that breaks a check: it is counted, refused, or the flow ends."""


@dataclass(frozen=True)
class Matches:
    """That a text matches a pattern as a whole.

    Patterns are for columns of few values, such as codes: a pattern on every row costs as much as
    all other checks together, so it is tried on each value once. `fine` are those that matched.
    """

    name: str
    pattern: str
    fine: set[str]

    def failing(self, values: pl.Series) -> pl.Series:
        """Return those of different values that do not match."""
        new = set(values.to_list()) - self.fine - {None}
        known = pl.Series(self.name, list(new), dtype=pl.String)
        if not new:
            return known
        good = known.str.contains(f"^(?:{self.pattern})$")
        if len(self.fine) < _MOST_KNOWN:
            self.fine.update(known.filter(good))
        return known.filter(~good)


@dataclass(frozen=True, eq=False)
class Check:
    """One thing that must hold: a stable code, the fields it looks at, itself in words.

    A null of a `nullable` field holds, and of any other does not.
    """

    code: str
    fields: tuple[str, ...]
    rule: str
    holds: Holds | Matches
    nullable: bool = False
    severity: Severity = "quarantine"


def bytes_of(name: str, least: int, most: int) -> pl.Expr:
    """Return that a text has so many bytes of UTF-8."""
    size = pl.col(name).str.len_bytes()
    return size.is_between(least, most) if least else size <= most


def span(name: str, low: float, high: float, *, exact: bool = False) -> pl.Expr:
    """Return that a number is in a range; NaN is in none, as Polars sorts it above all.

    A decimal is compared `exact`, as the bounds are written.
    """
    if exact:
        least, most = (pl.lit(Decimal(str(each))) for each in (low, high))
        return pl.col(name).is_between(least, most)
    return pl.col(name).is_between(low, high)


def one_of(name: str, values: Sequence[Any], *, exact: bool = False) -> pl.Expr:
    """Return that a value is one of some; a decimal is compared `exact`, as they are written."""
    some = pl.Series([Decimal(str(each)) for each in values] if exact else values)
    return pl.col(name).is_in(some.implode())


def pattern(name: str, text: str) -> Matches:
    """Return that a text matches a regular expression; raises PolarsError for one that is none."""
    pl.Series([""]).str.contains(text)
    return Matches(name, text, set())


def time_in(
    name: str,
    begin: int | None,
    end: int | None,
    ahead: int | None = None,
    *,
    clock: bool = True,
) -> Holds:
    """Return that a time is between two in µs, and so far past the Kafka time at the most.

    That is `ahead` µs, or the bound if it is None; without a `clock` Kafka's time has no say.
    """
    least = _FIRST if begin is None else begin
    most = _LAST if end is None else end
    time = pl.col(name).to_physical()

    def holds(future_bound_us: int) -> pl.Expr:
        bound = future_bound_us if ahead is None else ahead
        # Clipped before it is scaled: a producer may send any 64-bit number.
        kafka_us = pl.col(KAFKA_TIME).clip(upper_bound=most // 1000) * 1000
        known = (kafka_us >= 0).fill_null(value=False)
        latest = pl.when(known).then(kafka_us + bound).otherwise(most)
        return time.is_between(least, pl.min_horizontal(latest, most))

    return holds if clock else time.is_between(least, most)

"""A contract's checks on columns: which rows are good, and why the others are not."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import polars as pl

from operators.records.rejects import Refusal

FUTURE_BOUND_US: Final = 5 * 60 * 1_000_000

_TIMESTAMP: Final = "__kafka_timestamp_ms"
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
    fields: str
    rule: str
    holds: Holds | Matches
    nullable: bool = False
    severity: Severity = "quarantine"


class Checked(NamedTuple):
    """A Boolean for each row, true if it is good; why the others are not; broken warnings.

    For each bad row there is one Refusal of stage "contract": its code is that of the first check
    broken, its message names them all. `warned` counts the rows that break a check of severity
    warn by its code; they are good for all that.
    """

    good: pl.Series
    refusals: list[Refusal]
    warned: Counter[str]


def bytes_of(name: str, least: int, most: int) -> pl.Expr:
    """Return that a text has so many bytes of UTF-8."""
    size = pl.col(name).str.len_bytes()
    return size.is_between(least, most) if least else size <= most


def span(name: str, low: float, high: float) -> pl.Expr:
    """Return that a number is in a range; NaN is in none, as Polars sorts it above all."""
    return pl.col(name).is_between(low, high)


def one_of(name: str, values: Sequence[Any]) -> pl.Expr:
    """Return that a value is one of some."""
    return pl.col(name).is_in(pl.Series(values).implode())


def pattern(name: str, text: str) -> Matches:
    """Return that a text matches a regular expression; raises PolarsError for one that is none."""
    pl.Series([""]).str.contains(text)
    return Matches(name, text, set())


def time_in(name: str, begin: int, end: int) -> Callable[[int], pl.Expr]:
    """Return that a time is between two in µs, and at most the bound past the Kafka time."""

    def holds(future_bound_us: int) -> pl.Expr:
        # Clipped before it is scaled: a producer may send any 64-bit number.
        kafka_us = pl.col(_TIMESTAMP).clip(upper_bound=end // 1000) * 1000
        known = (kafka_us >= 0).fill_null(value=False)
        latest = pl.when(known).then(kafka_us + future_bound_us).otherwise(end)
        return pl.col(name).to_physical().is_between(begin, pl.min_horizontal(latest, end))

    return holds


class Contract:
    """What the records of a schema must be like."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.checks = tuple(checks)
        self._patterns = [(c, c.holds) for c in checks if isinstance(c.holds, Matches)]
        self._columns = dict.fromkeys(matches.name for _, matches in self._patterns)
        self._made: dict[int, list[tuple[Check, pl.Expr]]] = {}

    def check(
        self,
        frame: pl.DataFrame,
        kafka_timestamp_ms: pl.Series,
        future_bound_us: int = FUTURE_BOUND_US,
    ) -> Checked:
        """Check each row of `frame`.

        `kafka_timestamp_ms` has the records' broker or producer time in ms since 1970, Int64, a
        row for each; negative or null where it is unknown. An event may be at most
        `future_bound_us` µs ahead of it.
        """
        every = [*self._plain(future_bound_us), *self._matching(frame)]
        holds = [each for each in every if each[0].severity != "warn"]
        timed = frame.hstack([kafka_timestamp_ms.cast(pl.Int64).alias(_TIMESTAMP)])
        warns = [each for each in every if each[0].severity == "warn"]
        if not holds:
            all_good = pl.repeat(value=True, n=frame.height, eager=True)
            return Checked(all_good, [], _broken(timed, warns))
        # Here and below in this thread: a batch is too small to hand over to another.
        all_hold = pl.all_horizontal(each for _, each in holds).fill_null(value=False)
        good = timed.select_seq(good=all_hold).to_series()
        if good.all():
            return Checked(good, [], _broken(timed, warns))
        bad = (~good).arg_true()
        holds.sort(key=lambda each: self.checks.index(each[0]))
        results = timed[bad].select_seq(
            each.fill_null(value=False).alias(str(i)) for i, (_, each) in enumerate(holds)
        )
        refusals = [
            _refusal(row, [c for (c, _), held in zip(holds, held_all, strict=True) if not held])
            for row, held_all in zip(bad.to_list(), results.rows(), strict=True)
        ]
        return Checked(good, refusals, _broken(timed.filter(good), warns))

    def _plain(self, bound: int) -> list[tuple[Check, pl.Expr]]:
        """Return the checks that are no patterns as expressions; null does not hold."""
        if bound not in self._made:
            self._made[bound] = [
                (check, holds.fill_null(value=True) if check.nullable else holds)
                for check in self.checks
                if not isinstance(check.holds, Matches)
                for holds in [check.holds(bound) if callable(check.holds) else check.holds]
            ]
        return self._made[bound]

    def _matching(self, frame: pl.DataFrame) -> list[tuple[Check, pl.Expr]]:
        """Return the patterns that some value does not match."""
        values = frame.select_seq(pl.col(name).unique().implode() for name in self._columns)
        found = []
        for check, matches in self._patterns:
            each = values[matches.name][0]
            bad = matches.failing(each)
            if len(bad):
                holds = ~pl.col(matches.name).is_in(bad.implode())
            elif each.null_count() and not check.nullable:
                holds = pl.col(matches.name).is_not_null()
            else:
                continue
            found.append((check, holds.fill_null(value=check.nullable)))
        return found


def _broken(rows: pl.DataFrame, holds: Sequence[tuple[Check, pl.Expr]]) -> Counter[str]:
    """Return how many rows break checks, by their codes; of one code each row counts once."""
    codes: dict[str, list[pl.Expr]] = {}
    for check, each in holds:
        codes.setdefault(check.code, []).append(each)
    if not codes:
        return Counter()
    found = rows.select_seq(
        (~pl.all_horizontal(each).fill_null(value=False)).sum().alias(code)
        for code, each in codes.items()
    )
    return Counter({code: found[code][0] for code in codes if found[code][0]})


def _refusal(row: int, broken: list[Check]) -> Refusal:
    message = "; ".join(f"{check.fields}: {check.rule}" for check in broken)
    stops = any(check.severity == "stop" for check in broken)
    return Refusal(row, "contract", broken[0].code, message, stops=stops)

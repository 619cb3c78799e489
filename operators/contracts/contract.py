"""A contract's checks on columns: which rows are good, and why the others are not."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import polars as pl

from operators.columns.frames import stacked, taken
from operators.contracts.checks import KAFKA_TIME, Check, Matches
from operators.contracts.repairs import REPAIRS, Done, Repair, mend, noted
from operators.contracts.warnings import warned
from operators.records.rejects import Refusal

FUTURE_BOUND_US: Final = 5 * 60 * 1_000_000

_Held: TypeAlias = list[tuple[Check, pl.Expr]]


class Checked(NamedTuple):
    """A Boolean for each row, true if it is good; why the others are not; broken warnings.

    For each bad row there is one Refusal of stage "contract": its code is that of the first check
    broken, its message names them all. `warned` counts the rows that break a check of severity
    warn by its code; they are good for all that. `frame` has the rows, those that could be
    repaired as they are by then, with the column `REPAIRS` if the contract has repairs, and
    `WARNINGS` if it has checks that let pass; of the good ones `repaired` counts by field and kind
    what was done.
    """

    good: pl.Series
    refusals: list[Refusal]
    warned: Counter[str]
    frame: pl.DataFrame
    repaired: Counter[tuple[str, str]]


Checks = Callable[[pl.DataFrame, pl.Series], Checked]
"""Checks (decoded rows, their Kafka timestamps in ms)."""


class Tried(NamedTuple):
    """What all repairs make of rows, which of them did, and why some are refused for all that."""

    frame: pl.DataFrame
    done: Done
    refusals: list[Refusal]


class Contract:
    """What the records of a schema must be like."""

    def __init__(self, checks: Sequence[Check], repairs: Sequence[Repair] = ()) -> None:
        self.checks, self.repairs = tuple(checks), tuple(repairs)
        self._patterns = [(c, c.holds) for c in checks if isinstance(c.holds, Matches)]
        self._columns = dict.fromkeys(matches.name for _, matches in self._patterns)
        self._made: dict[int, _Held] = {}
        self.warns = any(each.severity == "warn" for each in checks)
        """Whether some of them let pass what breaks them."""

    def check(
        self,
        frame: pl.DataFrame,
        kafka_timestamp_ms: pl.Series,
        future_bound_us: int = FUTURE_BOUND_US,
    ) -> Checked:
        """Check each row of `frame`, and repair those that break a check if that can be done.

        `kafka_timestamp_ms` has the records' broker or producer time in ms since 1970, Int64, a
        row for each; negative or null where it is unknown. An event may be at most
        `future_bound_us` µs ahead of it.
        """
        timed = frame.hstack([kafka_timestamp_ms.cast(pl.Int64).alias(KAFKA_TIME)])
        notes = pl.Series(REPAIRS, [None], pl.String).new_from_index(0, frame.height)
        repaired: Counter[tuple[str, str]] = Counter()
        good, holds, warns = self._good(timed, future_bound_us)
        if self.repairs and not good.all():
            timed, notes, repaired = self._repaired(timed, good, notes, future_bound_us)
            if repaired:
                good, holds, warns = self._good(timed, future_bound_us)
        rows = timed.drop(KAFKA_TIME).hstack([notes]) if self.repairs else frame
        holds.sort(key=lambda each: self.checks.index(each[0]))
        refusals = [] if good.all() else _refusals(timed, good, holds)
        counts: Counter[str] = Counter()
        if self.warns:
            told, counts = warned(timed, [(each.code, how) for each, how in warns], good)
            rows = rows.hstack([told])
        return Checked(good, refusals, counts, rows, repaired)

    def tried(
        self,
        frame: pl.DataFrame,
        kafka_timestamp_ms: pl.Series,
        future_bound_us: int = FUTURE_BOUND_US,
    ) -> Tried:
        """Repair each row of `frame` as far as it goes, whether or not it is good then.

        The rest is as of `check`.
        """
        timed = frame.hstack([kafka_timestamp_ms.cast(pl.Int64).alias(KAFKA_TIME)])
        timed, done = self._mended(timed, future_bound_us)
        good, holds, _ = self._good(timed, future_bound_us)
        refusals = [] if good.all() else _refusals(timed, good, holds)
        return Tried(timed.drop(KAFKA_TIME), done, refusals)

    def _good(self, timed: pl.DataFrame, bound: int) -> tuple[pl.Series, _Held, _Held]:
        """Return which rows are good, and what must hold: of good ones, and of all but warnings."""
        every = [*self._plain(bound), *self._matching(timed)]
        holds = [each for each in every if each[0].severity != "warn"]
        warns = [each for each in every if each[0].severity == "warn"]
        if not holds:
            return pl.repeat(value=True, n=timed.height, eager=True), holds, warns
        # Here and below in this thread: a batch is too small to hand over to another.
        all_hold = pl.all_horizontal(each for _, each in holds).fill_null(value=False)
        return timed.select_seq(good=all_hold).to_series(), holds, warns

    def _repaired(
        self, timed: pl.DataFrame, good: pl.Series, notes: pl.Series, bound: int
    ) -> tuple[pl.DataFrame, pl.Series, Counter[tuple[str, str]]]:
        """Return the rows as they are where repairs make them good, what is noted, and how often.

        `notes` are those of rows that were not repaired.
        """
        bad = (~good).arg_true()
        before = timed[bad]
        after, done = self._mended(before, bound)
        mended = self._good(after, bound)[0]
        done = [(repair, rows & mended) for repair, rows in done]
        counts: Counter[tuple[str, str]] = Counter(
            {(each.field, each.does): int(rows.sum()) for each, rows in done}
        )
        count = int(mended.sum())
        if not count:
            return timed, notes, Counter()
        order = pl.int_range(timed.height, eager=True).scatter(
            bad.filter(mended), pl.int_range(timed.height, timed.height + count, eager=True)
        )
        texts = noted(before, after, done).filter(mended)
        return (
            stacked([timed, after.filter(mended)])[order],
            notes.append(texts)[order],
            +counts,
        )

    def _mended(self, before: pl.DataFrame, bound: int) -> tuple[pl.DataFrame, Done]:
        def broken(rows: pl.DataFrame) -> dict[str, pl.Series]:
            _, holds, _ = self._good(rows, bound)
            by_field: dict[str, list[pl.Expr]] = {}
            for check, each in holds:
                for name in check.fields:
                    by_field.setdefault(name, []).append(each)
            found = rows.select_seq(
                (~pl.all_horizontal(each).fill_null(value=False)).alias(name)
                for name, each in by_field.items()
            )
            return {name: found[name] for name in by_field}

        return mend(before, self.repairs, broken)

    def _plain(self, bound: int) -> _Held:
        """Return the checks that are no patterns as expressions; null does not hold."""
        if bound not in self._made:
            self._made[bound] = [
                (check, holds.fill_null(value=True) if check.nullable else holds)
                for check in self.checks
                if not isinstance(check.holds, Matches)
                for holds in [check.holds(bound) if callable(check.holds) else check.holds]
            ]
        return self._made[bound]

    def _matching(self, frame: pl.DataFrame) -> _Held:
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


def _refusals(timed: pl.DataFrame, good: pl.Series, holds: _Held) -> list[Refusal]:
    bad = (~good).arg_true()
    # Of no more columns than are asked about.
    asked = dict.fromkeys(name for _, each in holds for name in each.meta.root_names())
    results = taken(timed[list(asked) or timed.columns], bad.to_numpy()).select_seq(
        each.fill_null(value=False).alias(str(i)) for i, (_, each) in enumerate(holds)
    )
    # Few of what can be broken together ever are.
    found: dict[tuple[bool, ...], Refusal] = {}
    refusals = []
    for row, held in zip(bad.to_list(), results.rows(), strict=True):
        if held not in found:
            found[held] = _refusal(
                row, [c for (c, _), each in zip(holds, held, strict=True) if not each]
            )
        refusals.append(found[held].at(row))
    return refusals


def _refusal(row: int, broken: list[Check]) -> Refusal:
    message = "; ".join(f"{', '.join(check.fields)}: {check.rule}" for check in broken)
    stops = any(check.severity == "stop" for check in broken)
    return Refusal(row, "contract", broken[0].code, message, stops=stops)

"""Rules: conditions on a payment and its features that raise alerts, one YAML file each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
import yaml
from polars.exceptions import PolarsError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from operators.expressions import one_row, select_rows
from operators.frames import filtered, in_one_chunk, stacked
from operators.tables import COORDINATES

Severity = Literal["low", "medium", "high", "critical"]

ALERT_COLUMNS: Final[dict[str, pl.DataType]] = {
    "alert_id": pl.String(),
    "rule_id": pl.String(),
    "rule_version": pl.Int32(),
    "payment_id": pl.String(),
    "card_id": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "severity": pl.String(),
    "score": pl.Float64(),
    "reason": pl.String(),
    **COORDINATES,
}

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class RuleError(ValueError):
    """One or more rules cannot be used; the message names every problem."""


class Case(BaseModel):
    """An example: payments of one card in order of arrival, and which of them alert.

    `after` is the time since the first payment; other fields are the schema's. `alerts` holds
    positions from 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    payments: list[dict[str, Any]] = Field(min_length=1)
    alerts: list[int]


class Rule(BaseModel):
    """A rule as its file states it; `when` and `score` are SQL expressions over one payment."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    severity: Severity
    when: str
    score: str
    reason: str
    cases: list[Case] = Field(min_length=1)

    @cached_property
    def condition(self) -> pl.Expr:
        """The condition; null (something it needs is unknown) is no match."""
        return one_row(self.when).fill_null(False).alias(self.id)

    def alerts(self, hits: pl.DataFrame) -> pl.DataFrame:
        """Return an alert, with `ALERT_COLUMNS`, for each of the matching payments."""
        text = re.sub(r"\{\w+\}", "{}", self.reason)
        names = [
            pl.col(n).cast(pl.String).fill_null("?") for n in _PLACEHOLDER.findall(self.reason)
        ]
        coordinates = [pl.col(n).cast(pl.String) for n in COORDINATES]
        made = {
            # Of the record's coordinates, so that a replay makes the same id again.
            "alert_id": pl.concat_str(
                [pl.lit(f"{self.id}@{self.version}"), *coordinates], separator="/"
            ),
            "rule_id": pl.lit(self.id),
            "rule_version": pl.lit(self.version),
            "severity": pl.lit(self.severity),
            "score": one_row(self.score).cast(pl.Float64).round(2),
            "reason": pl.format(text, *names) if names else pl.lit(self.reason),
        }
        return select_rows(
            hits,
            [
                made.get(name, pl.col(name)).cast(dtype).alias(name)
                for name, dtype in ALERT_COLUMNS.items()
            ],
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that could not be evaluated on a payment."""

    rule: Rule
    payment: pl.DataFrame
    error: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The alerts of a frame of payments, and the evaluations that failed."""

    alerts: pl.DataFrame
    failures: list[Failure]


class RuleSet:
    """All rules together, evaluated on columns."""

    def __init__(self, rules: Sequence[Rule], columns: dict[str, pl.DataType]) -> None:
        """Check every rule against the columns that payments have.

        Raises RuleError naming all rules that do not parse or use an unknown column.
        """
        self.rules = tuple(rules)
        empty = pl.DataFrame(schema=columns)
        problems = []
        for rule in self.rules:
            try:
                rule.alerts(empty.filter(rule.condition))
            except PolarsError as error:
                problems.append(f"rule {rule.id}: {str(error).splitlines()[0]}")
        ids = [rule.id for rule in self.rules]
        problems += [
            f"rule {i}: defined twice" for i in sorted({i for i in ids if ids.count(i) > 1})
        ]
        if problems:
            raise RuleError("\n".join(problems))

    def evaluate(self, payments: pl.DataFrame) -> Verdict:
        """Return the alerts that `payments` (schema fields, features, coordinates) raise."""
        alerts: list[pl.DataFrame] = []
        failures: list[Failure] = []
        if payments.height and self.rules:
            try:
                masks = select_rows(payments, [rule.condition for rule in self.rules])
                hits = [rule for rule in self.rules if masks[rule.id].any()]
                # In one chunk: Polars 2.1 with several threads panics in format() on the
                # filtered rows of a frame of many chunks.
                alerts = [r.alerts(in_one_chunk(filtered(payments, masks[r.id]))) for r in hits]
            except PolarsError:
                # Some rule fails on some payment: find which, so that all others count.
                alerts = []
                for rule in self.rules:
                    alerts += _one_by_one(rule, payments, failures)
        if not alerts:
            return Verdict(pl.DataFrame(schema=ALERT_COLUMNS), failures)
        order = ["source_partition", "source_offset", "rule_id"]
        return Verdict(stacked(alerts).sort(order), failures)


def _one_by_one(
    rule: Rule, payments: pl.DataFrame, failures: list[Failure]
) -> list[pl.DataFrame]:
    """Return the rule's alerts, halving the payments until those it fails on stand alone."""
    try:
        hits = select_rows(payments, [rule.condition])[rule.id]
        return [rule.alerts(in_one_chunk(filtered(payments, hits)))]
    except PolarsError as error:
        if payments.height == 1:
            failures.append(Failure(rule, payments, type(error).__name__))
            return []
        half = payments.height // 2
        first = _one_by_one(rule, payments.head(half), failures)
        return first + _one_by_one(rule, payments.slice(half), failures)


def load_rules(folder: Path) -> list[Rule]:
    """Read every ``*.yaml`` of a folder, sorted by name.

    Raises RuleError naming every file that is not a rule, or if there is none.
    """
    rules, problems = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            rule = Rule.model_validate(yaml.safe_load(path.read_text("utf-8")))
            if rule.id != path.stem:
                problems.append(f"{path.name}: its id is {rule.id}, not the file's name")
            rules.append(rule)
        except ValidationError as error:
            problems += [
                f"{path.name}: {'.'.join(map(str, e['loc']))}: {e['msg']}"
                for e in error.errors()
            ]
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            problems.append(f"{path.name}: {error}")
    if not rules and not problems:
        problems.append(f"no rules (*.yaml) in {folder}")
    if problems:
        raise RuleError("\n".join(problems))
    return rules

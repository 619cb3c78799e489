"""Rules: conditions on an event and its features that raise alerts, one YAML file each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
import yaml
from polars.exceptions import PolarsError
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from operators.columns.expressions import one_row, select_rows
from operators.columns.frames import filtered, in_one_chunk, stacked
from operators.records.tables import COORDINATES

Severity = Literal["low", "medium", "high", "critical"]


def alert_columns(id_column: str, key_column: str) -> dict[str, pl.DataType]:
    """Return an alert's columns; two are the event's own, its id and whom it is about."""
    return {
        "alert_id": pl.String(),
        "rule_id": pl.String(),
        "rule_version": pl.Int32(),
        id_column: pl.String(),
        key_column: pl.String(),
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
    """An example: events of one key in order of arrival, and which of them alert.

    `after` is the time since the first one; other fields are the schema's. `alerts` holds
    positions from 1. Of payments the events are called so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: str
    events: list[dict[str, Any]] = Field(
        min_length=1, validation_alias=AliasChoices("events", "payments")
    )
    alerts: list[int]


class Rule(BaseModel):
    """A rule as its file states it; `when` and `score` are SQL expressions over one event."""

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

    @cached_property
    def reads(self) -> set[str]:
        """The columns of an event that its alerts are a function of, beside the coordinates."""
        score = one_row(self.score).meta.root_names()
        return {*self.condition.meta.root_names(), *score, *_PLACEHOLDER.findall(self.reason)}

    @property
    def definition(self) -> str:
        """What its alerts are a function of, in one line."""
        return f"{self.version}: {self.when} | {self.score} | {self.severity} | {self.reason}"

    def alerts(self, hits: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return an alert, with `columns` as of `alert_columns`, for each matching event."""
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
                for name, dtype in columns.items()
            ],
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that could not be evaluated on an event, a frame of one row."""

    rule: Rule
    event: pl.DataFrame
    error: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The alerts of a frame of events, and the evaluations that failed."""

    alerts: pl.DataFrame
    failures: list[Failure]


class RuleSet:
    """All rules together, evaluated on columns."""

    def __init__(
        self,
        rules: Sequence[Rule],
        columns: Mapping[str, pl.DataType],
        id_column: str,
        key_column: str,
    ) -> None:
        """Check every rule against the columns that events have.

        `id_column` and `key_column` are those of `alert_columns`. Raises RuleError naming all
        rules that do not parse or use an unknown column.
        """
        self.rules = tuple(rules)
        self.columns = alert_columns(id_column, key_column)
        empty = pl.DataFrame(schema=columns)
        problems = []
        for rule in self.rules:
            try:
                rule.alerts(empty.filter(rule.condition), self.columns)
            except PolarsError as error:
                problems.append(f"rule {rule.id}: {str(error).splitlines()[0]}")
        ids = [rule.id for rule in self.rules]
        problems += [
            f"rule {i}: defined twice" for i in sorted({i for i in ids if ids.count(i) > 1})
        ]
        if problems:
            raise RuleError("\n".join(problems))

    def evaluate(self, events: pl.DataFrame) -> Verdict:
        """Return the alerts that `events` (schema fields, features, coordinates) raise."""
        alerts: list[pl.DataFrame] = []
        failures: list[Failure] = []
        if events.height and self.rules:
            try:
                masks = select_rows(events, [rule.condition for rule in self.rules])
                hits = [rule for rule in self.rules if masks[rule.id].any()]
                # In one chunk: Polars 2.1 with several threads panics in format() on the
                # filtered rows of a frame of many chunks.
                alerts = [
                    r.alerts(in_one_chunk(filtered(events, masks[r.id])), self.columns)
                    for r in hits
                ]
            except PolarsError:
                # Some rule fails on some event: find which, so that all others count.
                alerts = []
                for rule in self.rules:
                    alerts += self._one_by_one(rule, events, failures)
        if not alerts:
            return Verdict(pl.DataFrame(schema=self.columns), failures)
        order = ["source_partition", "source_offset", "rule_id"]
        return Verdict(stacked(alerts).sort(order), failures)

    def _one_by_one(
        self, rule: Rule, events: pl.DataFrame, failures: list[Failure]
    ) -> list[pl.DataFrame]:
        """Return the rule's alerts, halving the events until those it fails on stand alone."""
        try:
            hits = select_rows(events, [rule.condition])[rule.id]
            return [rule.alerts(in_one_chunk(filtered(events, hits)), self.columns)]
        except PolarsError as error:
            if events.height == 1:
                failures.append(Failure(rule, events, type(error).__name__))
                return []
            half = events.height // 2
            first = self._one_by_one(rule, events.head(half), failures)
            return first + self._one_by_one(rule, events.slice(half), failures)


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

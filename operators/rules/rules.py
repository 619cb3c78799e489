"""Rules: conditions on an event and its features that raise alerts, one YAML file each."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from operators import yaml_text
from operators.columns.expressions import select_rows
from operators.columns.frames import filtered, in_one_chunk, stacked, taken
from operators.records.tables import COORDINATES
from operators.rules.lists import LISTED
from operators.rules.rule import Case, Rule, alert_columns

Place = tuple[str | int, ...]
"""Where in a file something stands."""

_FORMS: Final = {
    "rollout": "no share of keys such as 25% or 0.5%",
    "runbook": "no address such as https://wiki.example/velocity",
}


class RuleError(ValueError):
    """One or more rules cannot be used; the message names every problem."""


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


class Rules(Protocol):
    """Rules that are evaluated, whichever hold for each event; `rules` are a folder's."""

    rules: tuple[Rule, ...]

    def evaluate(self, events: pl.DataFrame) -> Verdict:
        """Return the alerts that `events` (schema fields, features, coordinates) raise."""
        ...


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
        self.key = key_column
        empty = pl.DataFrame(schema=columns)
        problems = []
        for rule in self.rules:
            try:
                rule.alerts(empty.filter(rule.condition), self.columns, key_column)
            except (PolarsError, ValueError) as error:
                said = _without_lists(rule, columns) or str(error)
                problems.append(f"rule {rule.id}: {said.splitlines()[0]}")
        ids = [rule.id for rule in self.rules]
        problems += [
            f"rule {i}: defined twice" for i in sorted({i for i in ids if ids.count(i) > 1})
        ]
        if problems:
            raise RuleError("\n".join(problems))
        own = {*COORDINATES, id_column, key_column, "event_time"}
        self._reads = [[n for n in columns if n in own | rule.reads] for rule in self.rules]
        self._read = [n for n in columns if any(n in reads for reads in self._reads)]

    def evaluate(self, events: pl.DataFrame) -> Verdict:
        """Return the alerts that `events` (schema fields, features, coordinates) raise."""
        alerts: list[pl.DataFrame] = []
        failures: list[Failure] = []
        if events.height and self.rules:
            try:
                # What no rule reads need not be put into one chunk.
                read = in_one_chunk(events[self._read])
                masks = select_rows(read, [rule.condition for rule in self.rules])
                for rule, reads in zip(self.rules, self._reads, strict=True):
                    rows = np.flatnonzero(masks[rule.id].to_numpy())
                    if len(rows):
                        hits = taken(read[reads], rows)
                        alerts.append(rule.alerts(hits, self.columns, self.key))
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
            return [rule.alerts(in_one_chunk(filtered(events, hits)), self.columns, self.key)]
        except PolarsError as error:
            if events.height == 1:
                failures.append(Failure(rule, events, type(error).__name__))
                return []
            half = events.height // 2
            first = self._one_by_one(rule, events.head(half), failures)
            return first + self._one_by_one(rule, events.slice(half), failures)


def _without_lists(rule: Rule, columns: Container[str]) -> str | None:
    """Say what is missing where a rule looks at lists and its stream has none."""
    if LISTED in columns or not rule.looked_up:
        return None
    return "IN LIST: there are no lists without a control topic; set MILLSTREAM_CONTROL_TOPIC"


def read_rule(stated: Any, stem: str) -> tuple[Rule | None, list[tuple[Place, str]]]:
    """Return the rule that a file's content states, None if it states none, and its problems.

    `stem` is the file's name.
    """
    try:
        rule = Rule.model_validate(stated)
    except ValidationError as error:
        return None, [(each["loc"], _problem(each)) for each in error.errors()]
    if rule.id != stem:
        return rule, [(("id",), f"its id is {rule.id}, not the file's name")]
    return rule, []


def _problem(error: ErrorDetails) -> str:
    said = error["msg"].removeprefix("Value error, ")
    (*_, last) = error["loc"] or ("",)
    if error["type"] == "extra_forbidden":
        kind, fields = (
            ("case", Case.model_fields)
            if len(error["loc"]) > 1
            else ("rule", Rule.model_fields)
        )
        like = get_close_matches(str(last), fields, 1)
        said = f"no field of a {kind}" + "".join(f"; {each}?" for each in like)
    elif error["type"] in ("string_pattern_mismatch", "string_type"):
        said = _FORMS.get(str(last), said)
    return f"{'.'.join(map(str, error['loc']))}: ".removeprefix(": ") + said


def load_rules(folder: Path) -> list[Rule]:
    """Read every ``*.yaml`` of a folder, sorted by name, whatever their status.

    Raises RuleError naming every file that is not a rule, or if there is none.
    """
    rules, problems = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            stated = yaml_text.read(path.read_text("utf-8"))
        except (yaml_text.YAMLError, UnicodeDecodeError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        rule, found = read_rule(stated, path.stem)
        problems += [f"{path.name}: {text}" for _, text in found]
        if rule is not None:
            rules.append(rule)
    if not rules and not problems:
        problems.append(f"no rules (*.yaml) in {folder}")
    if problems:
        raise RuleError("\n".join(problems))
    return rules

"""Checks of the files that analysts write: every problem, with its file and line."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from polars.exceptions import PolarsError

from flows.control import not_listed
from flows.streams import Stream
from operators.features import Feature, Features, read_features
from operators.rules.cases import failing_case
from operators.rules.rule import Rule
from operators.rules.rules import RuleError, RuleSet, read_rule


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; lines count from 1."""

    file: str
    line: int
    problem: str


class _File:
    """A YAML file, which tells the line of what it states."""

    def __init__(self, path: Path) -> None:
        self._path, self._root = path, None
        self.stated: Any = None
        self.problems: list[Problem] = []
        try:
            text = path.read_text("utf-8")
            self._root = yaml.compose(text, yaml.SafeLoader)
            self.stated = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            why = getattr(error, "problem", None) or error
            self.problems = [Problem(str(path), mark.line + 1 if mark else 1, str(why))]
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            self.problems = [Problem(str(path), line, f"is not UTF-8: {error.reason}")]

    def at(self, place: tuple[str | int, ...], problem: str) -> Problem:
        """Return a problem with what stands at a place."""
        return Problem(str(self._path), _line(self._root, place), problem)


def check_features(
    folder: Path, beside: Features, taken: Collection[str]
) -> tuple[tuple[Feature, ...], list[Problem]]:
    """Return the features of a folder that are right, and what is wrong with the others.

    Those `beside` are there already; `taken` are columns that there are already.
    """
    files = {path.stem: _File(path) for path in sorted(folder.glob("*.yaml"))}
    problems = [each for file in files.values() for each in file.problems]
    stated = [(stem, file.stated) for stem, file in files.items() if not file.problems]
    right = []
    for (stem, _), (feature, wrong) in zip(
        stated, read_features(stated, beside, taken), strict=True
    ):
        problems += [files[stem].at(place, text) for place, text in wrong]
        if feature is not None and not wrong:
            right.append(feature)
    return tuple(right), problems


def check_rule(stream: Stream, path: Path) -> tuple[Rule | None, int, list[Problem]]:
    """Return a rule of a stream if it can be read, how many cases it has, and what is wrong."""
    file = _File(path)
    if file.problems:
        return None, 0, file.problems
    rule, found = read_rule(file.stated, path.stem)
    if rule is not None:
        found = [*_wrong(stream, rule), *found]
    return rule, _cases(file.stated), [file.at(place, text) for place, text in found]


def _wrong(stream: Stream, rule: Rule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    wrong = False
    for field in ("when", "score", "reason"):
        # The others in a form that is right, so that each is told by itself.
        plain = {"when": "true", "score": "0", "reason": "?"} | {field: getattr(rule, field)}
        try:
            RuleSet([rule.model_copy(update=plain)], stream.columns, stream.id, stream.key)
        except (RuleError, PolarsError) as error:
            wrong = True
            yield (field,), str(error).splitlines()[0].removeprefix(f"rule {rule.id}: ")
    if said := not_listed(stream, rule):
        wrong = True
        yield ("when",), said.removeprefix(f"rule {rule.id}: ")
    if wrong:
        return
    for number, case in enumerate(rule.cases):
        problem = failing_case(stream.fixture, rule, case)
        if problem is not None:
            yield ("cases", number), problem


def _cases(stated: Any) -> int:
    cases = stated.get("cases") if isinstance(stated, dict) else None
    return len(cases) if isinstance(cases, list) else 0


def _line(node: Any, place: tuple[str | int, ...]) -> int:
    """Return the line of what stands at a place, or of what it would stand in."""
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [value for key, value in node.value if key.value == str(step)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = node.value[step : step + 1]
        else:
            found = []
        if not found:
            break
        (node,) = found[:1]
    return int(node.start_mark.line) + 1 if node is not None else 1

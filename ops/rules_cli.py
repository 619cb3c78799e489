"""``millstream rules check``: every problem of every rule, with its file and line."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from polars.exceptions import PolarsError
from pydantic import ValidationError

from flows import settings as settings_
from flows.streams import STREAMS, Stream
from operators.rules.cases import failing_case
from operators.rules.rules import Rule, RuleError, RuleSet


def add_parser(subparsers: Any) -> None:
    """Add the command ``rules``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser("rules", help="check rules", description="Rules as files.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="parse rules and run their cases",
        description="Check every rule of a folder, by default those that each stream's flow would "
        "use: that it parses, that its columns are there and its expressions of the right type, "
        "and that its cases hold. Names every problem of every file with its line. Exit status 1 "
        "if there is any.",
    )
    check.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    check.add_argument(
        "--stream",
        choices=[each.name for each in STREAMS if each.rules],
        default=STREAMS[0].name,
        help="whose rules FOLDER has (default: %(default)s)",
    )
    check.add_argument("--json", action="store_true", help="print a JSON object")
    check.set_defaults(func=run)


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where; lines count from 1."""

    file: str
    line: int
    problem: str


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; returns 0, 1 (something is) or 2 (no such folder)."""
    named = {each.name: each for each in STREAMS}
    if args.folder is None:
        folders = [(each, settings_.declared(each).rules) for each in STREAMS if each.rules]
    else:
        folders = [(named[args.stream], args.folder)]
    problems, rules, cases = [], 0, 0
    for stream, folder in folders:
        if folder is None or not folder.is_dir():
            settings_.refuse(f"{folder} is no folder", 2)
        for path in sorted(folder.glob("*.yaml")):
            problems += check_rule(stream, path)
            rules += 1
            cases += len(_cases(path))
    if args.json:
        found = {"rules": rules, "cases": cases, "problems": [asdict(p) for p in problems]}
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        for each in problems:
            print(f"{each.file}:{each.line}: {each.problem}")
        print(f"{rules} rules, {cases} cases, {len(problems)} problems")
    return 1 if problems else 0


def check_rule(stream: Stream, path: Path) -> list[Problem]:
    """Return what is wrong with a rule of a stream."""
    text = path.read_text("utf-8", errors="replace")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        stated = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or error
        return [Problem(str(path), mark.line + 1 if mark else 1, str(why))]

    def at(*place: str | int) -> int:
        return _line(root, place)

    try:
        rule = Rule.model_validate(stated)
    except ValidationError as error:
        return [
            Problem(str(path), at(*e["loc"]), f"{'.'.join(map(str, e['loc']))}: {e['msg']}")
            for e in error.errors()
        ]
    found = list(_wrong(stream, rule))
    if rule.id != path.stem:
        found.append((("id",), f"its id is {rule.id}, not the file's name"))
    return [Problem(str(path), at(*place), text) for place, text in found]


def _wrong(stream: Stream, rule: Rule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for field in ("when", "score", "reason"):
        # The others in a form that is right, so that each is told by itself.
        plain = {"when": "true", "score": "0", "reason": "?"} | {field: getattr(rule, field)}
        try:
            RuleSet([rule.model_copy(update=plain)], stream.columns, stream.id, stream.key)
        except (RuleError, PolarsError) as error:
            yield (field,), str(error).splitlines()[0].removeprefix(f"rule {rule.id}: ")
            return
    for number, case in enumerate(rule.cases):
        problem = failing_case(stream.fixture, rule, case)
        if problem is not None:
            yield ("cases", number), problem


def _cases(path: Path) -> list[Any]:
    try:
        return list(yaml.safe_load(path.read_text("utf-8", errors="replace"))["cases"])
    except (yaml.YAMLError, TypeError, KeyError):
        return []


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

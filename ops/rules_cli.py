"""``millstream rules``: rules as files, checked, and tried out on history."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows import settings as settings_
from flows.streams import STREAMS, Stream
from operators.decisions.thresholds import load_thresholds
from operators.features import FeatureError, Features
from operators.rules.rule import Rule
from operators.rules.rules import RuleError
from operators.rules.status import said
from ops.backtest import cli as backtest_cli
from ops.checks import Problem, check_features, check_rule
from ops.control import rules_cli as control_cli
from ops.quality import cli as quality_cli
from ops.rule_cost import cost, made_up


def add_parser(subparsers: Any) -> None:
    """Add the command ``rules``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "rules",
        help="check rules, run them on history, change them",
        description="Rules as files, and as they hold while flows run.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="parse rules and run their cases",
        description="Check every rule of a folder, and every feature in its folder features, by "
        "default those that each stream's flow would use: that they parse, that their columns are "
        "there and their expressions of the right type, and that the rules' cases hold. Names "
        "every problem of every file with its line, and of each right rule its status, its owner "
        "and what it costs, timed on events made up. Exit status 1 if there is any problem.",
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
    backtest_cli.add_parser(commands)
    control_cli.add_parsers(commands)
    quality_cli.add_parser(commands)


def run(args: argparse.Namespace) -> int:
    """Print what is wrong; returns 0, 1 (something is) or 2 (no such folder)."""
    named = {each.name: each for each in STREAMS}
    if args.folder is None:
        folders = [(each, settings_.declared(each).rules) for each in STREAMS if each.rules]
    else:
        folders = [(named[args.stream], args.folder)]
    problems: list[Problem] = []
    counts = {"rules": 0, "cases": 0, "features": 0}
    costs: dict[str, float | None] = {}
    right: dict[str, Rule] = {}
    for stream, folder in folders:
        if settings_.declared(stream).control_topic is not None:
            stream = replace(stream, controlled=True)
        if folder is None or not folder.is_dir():
            settings_.refuse(f"{folder} is no folder", 2)
        stream, wrong = _with_features(stream, folder)
        problems += wrong
        problems += _of_thresholds(stream, folder)
        counts["features"] += len(list((folder / "features").glob("*.yaml")))
        for path in sorted(folder.glob("*.yaml")):
            rule, cases, wrong = check_rule(stream, path)
            problems += wrong
            if rule is not None and not wrong:
                # Two streams may each have one of that name.
                name = f"{stream.name}/{rule.id}" if rule.id in costs else rule.id
                right[name], costs[name] = rule, cost(rule, made_up(stream))
            counts["rules"] += 1
            counts["cases"] += cases
    if args.json:
        rounded = {name: took and round(took, 1) for name, took in costs.items()}
        details = {name: rule.details for name, rule in right.items()}
        told = {**counts, "rule_details": details, "cost_us_per_1000_events": rounded}
        told["without_a_hit"] = [name for name, rule in right.items() if _hits_nothing(rule)]
        json.dump(told | {"problems": [asdict(p) for p in problems]}, sys.stdout, indent=2)
        print()
    else:
        for each in problems:
            print(f"{each.file}:{each.line}: {each.problem}")
        for name, took in costs.items():
            shown = "unknown" if took is None else f"{took:,.1f} µs"
            print(f"{name}: {shown} per 1,000 events{_said(right[name])}{_unseen(right[name])}")
        counted = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"{counted}, {len(problems)} problems")
    return 1 if problems else 0


def _said(rule: Rule) -> str:
    return said(rule.status, rule.rollout, rule.owner)


def _unseen(rule: Rule) -> str:
    return ", no case in which it alerts" if _hits_nothing(rule) else ""


def _hits_nothing(rule: Rule) -> bool:
    """Tell whether nothing shows that a rule can ever alert."""
    return not any(case.alerts for case in rule.cases)


def _of_thresholds(stream: Stream, folder: Path) -> list[Problem]:
    """Return what is wrong with the thresholds of a rules' folder, or the stream's own."""
    if stream.decides:
        try:
            load_thresholds(folder, stream.rules)
        except RuleError as error:
            return [Problem(str(folder), 1, line) for line in str(error).splitlines()]
    return []


def _with_features(stream: Stream, folder: Path) -> tuple[Stream, list[Problem]]:
    """Return the stream with those features of a rules' folder that are right, and the others."""
    features = folder / "features"
    if stream.owns(folder):
        code = Features(stream.source, (), stream.coded)
        stated, problems = check_features(features, code, stream.taken)
        return replace(stream, stated=stated), problems
    try:
        taken = {*stream.taken, *stream.features.columns}
        added, problems = check_features(features, stream.features, taken)
    except FeatureError as error:
        settings_.refuse(error, 2)
    return replace(stream, added=added), problems

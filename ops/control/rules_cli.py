"""``millstream rules push`` and what goes with it: rules changed while flows run."""

import argparse
import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from operators.control.changes import Span
from operators.rules.rule import Rule
from operators.rules.status import ROLLOUT
from ops.checks import check_rule
from ops.control.changing import Changing, add_options, refuse, shown
from ops.control.known import Known, refused


def add_parsers(commands: Any) -> None:
    """Add the sub-commands of ``millstream rules``; their `func` return the exit code."""
    push = _add(commands, "push", _push, "put rules to work: their cases are run first", True)
    push.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _add(commands, "list", _list, "the rules that hold now, and those that will", False)
    show = _add(commands, "show", _show, "a rule as it holds now, and what became of it", False)
    show.add_argument("rule")
    diff = _add(commands, "diff", _diff, "what rule files say otherwise than what holds", False)
    diff.add_argument("files", nargs="*", type=Path, metavar="FILE")
    pause = _add(commands, "pause", _pause, "stop evaluating a rule", True)
    pause.add_argument("rule")
    promote = _add(commands, "promote", _promote, "have a rule live, or in shadow", True)
    promote.add_argument("rule")
    promote.add_argument("--to", choices=["live", "shadow"], default="live")
    promote.add_argument("--rollout", metavar="SHARE", help="of keys, such as 25%%")
    back = _add(commands, "rollback", _rollback, "have a rule's file hold again", True)
    back.add_argument("rule")
    back.add_argument("--to", type=int, metavar="VERSION", help="a version that held before")


def _add(
    commands: Any,
    name: str,
    func: Callable[[argparse.Namespace], int],
    text: str,
    changes: bool,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    add_options(parser, changes=changes)
    parser.set_defaults(func=func)
    return parser


def _push(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    stream, problems, rules = known.changing.stream, [], []
    for path in args.files:
        rule, _, wrong = check_rule(stream, path)
        problems += [f"{each.file}:{each.line}: {each.problem}" for each in wrong]
        if rule is not None and not wrong:
            problems += [f"{path}: {each}" for each in refused(known, rule)]
            rules.append(rule)
    for each in problems:
        print(each)
    if problems:
        return 1
    return _send(known, args, {each.id: each for each in rules})


def _send(known: Known, args: argparse.Namespace, rules: dict[str, Rule | None]) -> int:
    changes = known.changing.send(args, [("rule", name, rule) for name, rule in rules.items()])
    for each in changes:
        rule = each.content
        what = (
            f"version {rule.version}, {rule.standing},"
            if isinstance(rule, Rule)
            else "its file"
        )
        print(f"{each.name}: {what} holds from {shown(each.begins)} on")
    return 0 if changes else 1


def _pause(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    rule = known.newest(args.rule).model_copy(update={"status": "paused"})
    return _send(known, args, {args.rule: rule})


def _promote(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    rule = known.newest(args.rule)
    stated = rule.model_dump(exclude_defaults=True) | {"status": args.to}
    if args.rollout is not None:
        stated["rollout"] = args.rollout
    elif args.to == "live":
        stated.pop("rollout", None)
    try:
        promoted = Rule.model_validate(stated)
    except ValueError:
        refuse(f"--rollout {args.rollout}: no share of keys such as 25% or 0.5% ({ROLLOUT})")
    problems = refused(known, promoted)
    for each in problems:
        print(f"{args.rule}: {each}")
    return 1 if problems else _send(known, args, {args.rule: promoted})


def _rollback(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    known.newest(args.rule)
    if args.to is None:
        return _send(known, args, {args.rule: None})
    versions = known.versions(args.rule)
    if args.to not in versions:
        refuse(
            f"no version {args.to} of {args.rule}: there are {', '.join(map(str, versions))}"
        )
    return _send(known, args, {args.rule: versions[args.to]})


def _list(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    found = [_told(known, name) for name in known.names]
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for each in found:
        now = each["now"]
        line = f"{each['rule']}: " + (_line(now) if now else "does not hold")
        if each["next"]:
            line += f"; next: {_line(each['next'])}"
        print(line)
    return 0


def _told(known: Known, name: str) -> dict[str, Any]:
    span, rule, following = known.span(name), known.now(name), known.next(name)
    now = None if rule is None else _facts(rule, span)
    after = None
    if following is not None:
        content = following.change.content
        rule = content if isinstance(content, Rule) else known.files.get(name)
        after = _facts(rule, following) if rule is not None else None
    return {"rule": name, "now": now, "next": after}


def _facts(rule: Rule, span: Span | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"version": rule.version, "status": rule.standing, "from": "file"}
    if span is not None:
        change = span.change
        facts["from"] = "topic" if change.content is not None else "file"
        facts |= {"since": shown(span.begins), "who": change.who, "why": change.why}
    return facts


def _line(facts: dict[str, Any]) -> str:
    line = f"version {facts['version']}, {facts['status']}, of its {facts['from']}"
    if "since" in facts:
        line += f" from {facts['since']} on, by {facts['who']}: {facts['why']}"
    return line.replace("of its topic", "pushed")


def _show(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    rule = known.now(args.rule)
    history = [
        {
            "offset": each.offset, "sent": shown(each.time), "begins": shown(each.begins),
            "version": each.version, "who": each.who, "why": each.why,
            "status": each.content.standing if isinstance(each.content, Rule) else "file",
        }
        for each in known.changing.state.changes
        if each.kind == "rule" and each.name == args.rule
    ]  # fmt: skip
    if rule is None and not history:
        known.newest(args.rule)
    if args.json:
        stated = None if rule is None else rule.model_dump(mode="json", exclude_defaults=True)
        print(json.dumps({"rule": stated, "history": history}, indent=2))
        return 0
    if rule is not None:
        print(_text(rule), end="")
    for each in history:
        version = "" if each["version"] is None else f"version {each['version']}, "
        print(f"# {each['begins']}: {version}{each['status']}, by {each['who']}: {each['why']}")
    return 0


def _diff(args: argparse.Namespace) -> int:
    known = Known(Changing.of(args))
    files = known.files
    if args.files:
        files = {}
        for path in args.files:
            rule, _, wrong = check_rule(known.changing.stream, path)
            if rule is None:
                refuse(f"{path}: {wrong[0].problem}")
            files[rule.id] = rule
    found = {}
    for name, rule in files.items():
        held = known.now(name)
        lines = difflib.unified_diff(
            _text(held).splitlines() if held else [],
            _text(rule).splitlines(),
            f"{name}, as it holds",
            f"{name}, the file",
            lineterm="",
        )
        found[name] = list(lines)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(line for lines in found.values() for line in lines) or "no difference")
    return 1 if any(found.values()) else 0


def _text(rule: Rule) -> str:
    stated = rule.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, width=100)
    return text

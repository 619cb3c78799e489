"""``millstream thresholds``: numbers that decisions are made by, changed while flows run."""

import argparse
import json
from typing import Any

from operators.decisions.thresholds import NAMES
from ops.control.changing import Changing, add_options, shown


def add_parser(subparsers: Any) -> None:
    """Add the command ``thresholds``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "thresholds", help="numbers that decisions are made by", description="Thresholds."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    text = "set a threshold, or without a value have what is declared hold again"
    set_ = commands.add_parser("set", help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_options(set_, changes=True)
    set_.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    set_.add_argument("value", type=float, nargs="?", metavar="VALUE")
    set_.set_defaults(func=_set)
    show = commands.add_parser(
        "show",
        help="those that are set",
        description="Show thresholds that are set, or will be.",
    )
    add_options(show, changes=False)
    show.set_defaults(func=_show)


def _set(args: argparse.Namespace) -> int:
    changes = Changing.of(args).send(args, [("threshold", args.name, args.value)])
    for each in changes:
        value = "what is declared" if each.content is None else each.content
        print(f"{each.name}: {value}, from {shown(each.begins)} on")
    return 0 if changes else 1


def _show(args: argparse.Namespace) -> int:
    changing = Changing.of(args)
    found = [
        {
            "name": name, "value": each.change.content, "begins": shown(each.begins),
            "who": each.change.who, "why": each.change.why,
        }
        for name, spans in sorted(changing.named("threshold").items())
        for each in spans
        if each.ends > changing.now
    ]  # fmt: skip
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for each in found:
        print("{name}: {value}, from {begins} on, by {who}: {why}".format(**each))
    return 0

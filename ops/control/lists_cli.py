"""``millstream lists``: values on lists, each with an owner, a reason and an end."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.privacy import guard_of
from operators.control.changes import Content, Entry, Kind, Span, micros_of
from ops.control.changing import Changing, add_options, refuse, shown, until


def add_parser(subparsers: Any) -> None:
    """Add the command ``lists``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "lists",
        help="block, allow and watch lists",
        description="Values on lists, which rules look up (card_id IN LIST 'stolen').",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser(
        "add", help="put values on a list", description="Put values on a list."
    )
    _of_values(add)
    add.add_argument("--kind", required=True, choices=["block", "allow", "watch"])
    add.add_argument("--owner", required=True, metavar="NAME", help="who answers for it")
    add.add_argument(
        "--expires",
        required=True,
        type=until,
        metavar="WHEN",
        help="when it ends: a time from now such as 30d, or ISO 8601",
    )
    add.add_argument(
        "--overrides", action="store_true", help="what is allowed overrides a block"
    )
    add.set_defaults(func=_add)
    remove = commands.add_parser(
        "remove", help="take values off a list", description="Take values off a list."
    )
    _of_values(remove)
    remove.set_defaults(func=_remove)
    show = commands.add_parser(
        "show", help="what is on lists", description="Show what is on lists, or will be."
    )
    add_options(show, changes=False)
    show.add_argument("list", nargs="?", metavar="LIST")
    show.set_defaults(func=_show)


def _of_values(parser: argparse.ArgumentParser) -> None:
    add_options(parser, changes=True)
    parser.add_argument("list", metavar="LIST")
    parser.add_argument("values", nargs="*", metavar="VALUE")
    parser.add_argument("--column", required=True, help="the column of the values, as card_id")
    parser.add_argument("--file", type=Path, metavar="FILE", help="further values, one a line")


def _values(args: argparse.Namespace, changing: Changing) -> list[str]:
    if args.column not in changing.stream.lists:
        refuse(f"--column {args.column}: lists are about {', '.join(changing.stream.lists)}")
    values = list(args.values)
    if args.file is not None:
        values += [line.strip() for line in args.file.read_text("utf-8").splitlines()]
    # As silver has them, which is all that rules see.
    guard = guard_of(changing.settings, changing.stream)
    values = [guard.value("silver", args.column, each) for each in values if each]
    values = list(dict.fromkeys(values))
    if not values:
        refuse("no values: name some, or a --file of them")
    return values


def _add(args: argparse.Namespace) -> int:
    changing = Changing.of(args)
    if args.expires <= (args.at or datetime.now(UTC)):
        refuse(f"--expires {args.expires.isoformat()}: that is before it begins")
    entries = []
    for value in _values(args, changing):
        try:
            entries.append(
                Entry(
                    list=args.list, kind=args.kind, column=args.column, value=value,
                    owner=args.owner, reason=args.why, expires=args.expires,
                    overrides=args.overrides,
                )
            )  # fmt: skip
        except ValidationError as error:
            said = error.errors()[0]
            place = ".".join(map(str, said["loc"]))
            refuse(f"{place}: {said['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return _send(args, changing, [("entry", each.name, each) for each in entries])


def _remove(args: argparse.Namespace) -> int:
    changing = Changing.of(args)
    there = {
        name
        for name, spans in changing.named("entry").items()
        if spans[-1].change.content is not None
    }
    names = [f"{args.list}/{args.column}/{value}" for value in _values(args, changing)]
    if missing := [each for each in names if each not in there]:
        refuse(f"not on the list: {', '.join(missing)}")
    return _send(args, changing, [("entry", name, None) for name in names])


def _send(
    args: argparse.Namespace, changing: Changing, changes: list[tuple[Kind, str, Content]]
) -> int:
    sent = changing.send(args, changes)
    if sent:
        print(f"{len(sent)} entries, from {shown(max(each.begins for each in sent))} on")
    return 0 if sent else 1


def _show(args: argparse.Namespace) -> int:
    changing = Changing.of(args)
    now = changing.now
    found = [
        _told(entry, each, now)
        for each in changing.state.spans
        if isinstance(entry := each.change.content, Entry)
        and args.list in (None, entry.list)
        and now < min(each.ends, micros_of(entry.expires))
    ]
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for each in found:
        print(
            f"{each['list']} ({each['kind']}{', overrides' if each['overrides'] else ''}): "
            f"{each['column']} {each['value']}, from {each['begins']} until {each['expires']}, "
            f"{each['owner']}: {each['reason']}"
        )
    return 0


def _told(entry: Entry, span: Span, now: int) -> dict[str, Any]:
    told = entry.model_dump(mode="json")
    told |= {
        "begins": shown(span.begins),
        "expires": shown(micros_of(entry.expires)),
        "holds": span.begins <= now,
        "who": span.change.who,
    }
    return told

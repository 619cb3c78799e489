"""``millstream local``: start, end and look at the local stack."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ops import local
from ops.processes import ServerError


def add_parser(subparsers: Any) -> None:
    """Add the command ``local`` to what `ArgumentParser.add_subparsers` returned.

    Each sub-command sets `func`: it takes the parsed arguments and returns the exit code.
    """
    parser = subparsers.add_parser(
        "local",
        help="a Kafka broker, a Redis server and a schema registry on this machine",
        description="A Kafka broker, a Redis server and a schema registry on this machine, "
        "all in memory only.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("up", _up, "start them and print the settings for a flow"),
        ("down", _down, "end them; what was in memory is gone"),
        ("status", _status, "say what runs; exit code 3 unless all does"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--folder",
            type=Path,
            default=Path(".local"),
            help="where state, logs and tables are (default: %(default)s)",
        )
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(func=_guarded, run=run)


def _guarded(args: argparse.Namespace) -> int:
    try:
        return int(args.run(args))
    except (ServerError, OSError) as error:
        # What flows are made of takes a second to import, and none of the rest needs it.
        from flows import settings

        settings.refuse(error, 1)


def _up(args: argparse.Namespace) -> int:
    stack = local.up(args.folder)
    if args.json:
        print(json.dumps(stack.env()))
    else:
        # On stdout only what a shell can take: eval "$(millstream local up)".
        print(stack.exports(), end="")
        print(f"# in another shell: source {stack.folder / 'env'}", file=sys.stderr)
    return 0


def _down(args: argparse.Namespace) -> int:
    ended = local.down(args.folder)
    if args.json:
        print(json.dumps({"ended": ended}))
    else:
        print("ended: " + ", ".join(ended) if ended else "nothing was running")
    return 0


def _status(args: argparse.Namespace) -> int:
    stack, alive = local.status(args.folder)
    if args.json:
        print(json.dumps({"alive": alive, "env": stack.env() if stack else None}))
    else:
        for name, runs in alive.items():
            print(f"{name:10}{'up' if runs else 'down'}")
        if stack:
            print(stack.exports(), end="")
    return 0 if stack else 3

"""``millstream doctor``."""

import argparse
import json
import sys
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from flows import settings as settings_
from flows.log_lines import silent
from ops.status.cli import add_recovery

_MARKS: Final = {
    "ok": "[green]✓[/]", "wrong": "[red]✗[/]", "note": "[yellow]![/]", "not tried": "[dim]-[/]",
}  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the command ``doctor``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "doctor",
        help="try all that a flow needs, and say what to mend",
        description="Try what flows need, as they would: settings and rules, versions, folders "
        "and storage, brokers, Redis and registry with the rights on each topic, group and key, "
        "open files, clocks, and tables and recovery store against each other. What is not right "
        "is listed in the order to mend it. Nothing is made or changed that is not deleted "
        "again; the flows may run. Exit status 1 if one of them could not start.",
    )
    parser.add_argument(
        "flows", nargs="*", metavar="FLOW",
        help="which flows; by default those of the recovery directories, or payments",
    )  # fmt: skip
    add_recovery(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


@silent()  # what the servers' clients say while they wait is in the answer
def run(args: argparse.Namespace) -> int:
    """Look at everything; returns 0, 1 (something is to mend) or 2 (no such flow)."""
    from ops.doctor.checks import as_json  # with the engine, which takes a while to import
    from ops.doctor.examine import NoFlowError, examine
    from ops.stores import directories

    console = Console(highlight=False, soft_wrap=True)
    found = []
    try:
        for each in examine(args.flows, directories(args.recovery)):
            found.append(each)
            if not args.json:
                console.print(f"{_MARKS[each.state]} {escape(each.name)}: {escape(each.said)}")
    except NoFlowError as error:
        settings_.refuse(error, 2)
    answer = as_json(found)
    if args.json:
        json.dump(answer, sys.stdout, indent=2)
        print()
    elif not answer["ok"]:
        console.print("\nTo mend, in this order:")
        for number, to_do in enumerate(answer["to_do"], 1):
            console.print(f"{number}. {escape(to_do)}")
    return 0 if answer["ok"] else 1

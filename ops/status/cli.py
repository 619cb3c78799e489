"""``millstream status``."""

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from flows import settings as settings_
from flows.log_lines import silent
from flows.ports import default_port
from operators.errors import KnownError
from operators.features import FeatureError

EVERY: Final = 2.0
"""Seconds between two looks of --watch."""

_WIDE: Final = 200


def add_parser(subparsers: Any) -> None:
    """Add the command ``status``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "status",
        help="how far each flow is, and what is open",
        description="Show of each flow where it is and how much it has to read, its rate, its "
        "watermark, tables, dead letters and last commits, and what is wrong with what to do. "
        "From the tables' logs, the brokers, and, where they are named, recovery directories and "
        "metrics; so it works whatever runs or does not. Needs the flows' own settings, and "
        "changes nothing.",
    )
    parser.add_argument("flows", nargs="*", metavar="FLOW", help="which flows; all by default")
    add_recovery(parser)
    parser.add_argument(
        "--metrics", action="append", metavar="HOST:PORT",
        help="where a flow serves its metrics; may be given again. By default each flow's own "
        "port of localhost, or BYTEWAX_DATAFLOW_API_PORT",
    )  # fmt: skip
    parser.add_argument("--watch", action="store_true", help="look again every 2 s")
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with --watch a line each"
    )
    parser.set_defaults(func=run)


def add_recovery(parser: Any) -> None:
    """Add the option that names recovery directories."""
    parser.add_argument(
        "-r", "--recovery", action="append", type=Path, metavar="FOLDER",
        help="a flow's recovery directory; may be given again. By default "
        "BYTEWAX_RECOVERY_DIRECTORY",
    )  # fmt: skip


@silent()  # what the servers' clients say while they wait is in the answer
def run(args: argparse.Namespace) -> int:
    """Show it; returns 0, 1 (a recovery directory cannot be read) or 2 (settings)."""
    from flows.catalog import all_flows  # with the engine, which takes a while to import
    from ops.status.gather import gather
    from ops.stores import directories, stores

    try:
        known = all_flows()
    except (settings_.SettingsError, FeatureError) as error:
        settings_.refuse(error, 2)
    names = [each.name for each in known]
    for name in args.flows:
        if name not in names:
            settings_.refuse(f"there is no flow {name}: {', '.join(names)}", 2)
    chosen = [each for each in known if not args.flows or each.name in args.flows]
    told = os.environ.get("BYTEWAX_DATAFLOW_API_PORT")
    ports = [told] if told else [default_port(each.name) for each in chosen]
    metrics = args.metrics or [f"localhost:{port}" for port in ports]

    def look() -> Any:
        return gather(chosen, stores(directories(args.recovery)), metrics)

    try:
        if args.json:
            _print_json(look, again=args.watch)
        else:
            _show(look, again=args.watch)
    except (KnownError, sqlite3.Error, OSError) as error:
        settings_.refuse(error, 1)
    return 0


def _print_json(look: Callable[[], Any], *, again: bool) -> None:
    while True:
        found = look().to_json()
        print(json.dumps(found, default=_plain, indent=None if again else 2), flush=True)
        if not again:
            return
        time.sleep(EVERY)


def _plain(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _show(look: Callable[[], Any], *, again: bool) -> None:
    from ops.status.show import screen

    # What is no terminal, a file or a pipe, has no width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    if not again:
        console.print(screen(look()))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(screen(look()), refresh=True)
                time.sleep(EVERY)
    else:
        while True:
            console.print(screen(look()))
            time.sleep(EVERY)

"""``millstream backfill``: a stream's tables made anew under another root, from bronze."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from flows import settings as settings_
from flows.settings import PREFIX, Settings
from flows.streams import STREAMS, Stream
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from ops.progress import bar
from ops.run_flow import run_flow


def add_parser(subparsers: Any) -> None:
    """Add the command ``backfill``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "backfill",
        help="make a stream's tables anew under another root, from bronze",
        description="Run a stream's flow, as it is today, over all that bronze has under "
        "MILLSTREAM_DELTA_ROOT, and then over what the topic has behind it, into tables under "
        "another root. It sends no messages; the tables that are there are only read, also "
        "while their own flow writes them. One that was interrupted goes on where it was.",
    )
    names = [each.name for each in STREAMS if each.alone]
    parser.add_argument("stream", choices=names)
    parser.add_argument("--into", required=True, metavar="ROOT", help="of the new tables")
    parser.add_argument(
        "--silver-alone", action="store_true", help="and its duplicates, and no other table"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FOLDER",
        help="for its log and its recovery store; default: backfill-STREAM",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run it; returns 0, 1 where the flow could not go on, or 2 for settings."""
    (stream,) = (each for each in STREAMS if each.name == args.stream)
    try:
        live = settings_.load().delta_root
        own = {
            f"{PREFIX}DELTA_ROOT": args.into,
            f"{PREFIX}BACKFILL_FROM": live,
            f"{PREFIX}BACKFILL_SILVER_ALONE": str(args.silver_alone).lower(),
            f"{PREFIX}STOP_AT_END": "true",
        }
        given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
        settings = settings_.load(given | own)
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    folder: Path = args.state or Path(f"backfill-{stream.name}")
    try:
        total = _rows(settings, stream)
        (folder / "state").mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with bar(f"backfill of {stream.name}", total, args.json) as progress:
            # Here, as settings may name files by where the command is given.
            status = run_flow(
                given | own, folder.absolute(), total, progress, stream.name, Path.cwd()
            )
    except KnownError as error:
        settings_.refuse(error, 1)
    if status:
        last = (folder / "flow.log").read_text(errors="replace").strip().splitlines()[-1:]
        print(*last, f"the flow ended with status {status}: see {folder / 'flow.log'}, and run "
              "this again to go on", sep="\n", file=sys.stderr)  # fmt: skip
        return 1
    took = time.monotonic() - began
    if args.json:
        json.dump(
            {"stream": stream.name, "into": args.into, "records": total, "seconds": took},
            sys.stdout,
        )
        print()
        return 0
    print(f"{stream.name}: {total:,} records of bronze, and what the topic has behind them, in "
          f"{took:,.0f} s. Compare: millstream verify --against {args.into}")  # fmt: skip
    return 0


def _rows(settings: Settings, stream: Stream) -> int:
    """Return how many rows bronze has; raises KnownError if there is none."""
    uri = table_uri(settings.backfill_from or "", stream.bronze.name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            raise KnownError(
                f"there is no {stream.bronze.name} under {settings.backfill_from}: name the root "
                f"of the tables that are to be made anew with {PREFIX}DELTA_ROOT"
            )
        return int(DeltaTable(uri).count())

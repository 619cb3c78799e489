"""``millstream verify``."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import catalog
from flows import settings as settings_
from operators.errors import KnownError
from operators.features import FeatureError
from operators.rules.rules import RuleError
from ops.verify.against import against
from ops.verify.books import verify
from ops.verify.report import Report
from ops.verify.scores import without_lost_models
from ops.verify.tables import MissingTableError
from ops.verify.truth import TruthError


def add_parser(subparsers: Any) -> None:
    """Add the command ``verify``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "verify",
        help="prove that the tables are exact",
        description="Read the topics and the tables and prove the books: every record in one "
        "place, windows, alerts and, where chargebacks are joined, outcomes as silver makes "
        "them. Needs the flows' own settings, and flows that have stopped or caught up. "
        "Exit status 1 if anything does not hold.",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--truth", type=Path, metavar="PATH", help="compare with what simulate --truth wrote"
    )
    parser.add_argument(
        "--against",
        metavar="ROOT",
        help="compare the tables with those under another root instead",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Verify with the settings of the environment; returns 0, 1 (wrong) or 2 (settings)."""
    console = Console(stderr=True)
    try:
        enforcing = catalog.enforcing()
        settings = (
            enforcing[0].settings
            if catalog.enforces_alone()
            else settings_.load(without_lost_models(os.environ))
        )
        if args.truth and not args.truth.is_file():
            settings_.refuse(f"--truth: no file {args.truth}", 2)
        with console.status("verifying") as status:
            if args.against:
                report = against(settings.delta_root, args.against, status.update)
            else:
                report = verify(
                    settings, args.truth, lambda text: status.update(text), enforcing
                )
    except (settings_.SettingsError, FeatureError, RuleError, TruthError) as error:
        settings_.refuse(error, 2)
    except (KnownError, MissingTableError, OSError) as error:
        settings_.refuse(error, 1)
    if args.json:
        json.dump(report.to_json(), sys.stdout, indent=2, default=str)
        print()
    else:
        show(report, Console())
    return 0 if report.ok else 1


def show(report: Report, console: Console) -> None:
    """Print the checks, and under each that does not hold what offends against it."""
    table = Table("", "check", "compared", "offending", box=None, pad_edge=False)
    table.columns[2].justify = table.columns[3].justify = "right"
    for check in report.checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
        name = check.name
        if check.deleted:
            name += f" (not compared: {check.deleted:,}, {check.because})"
        table.add_row(mark, name, f"{check.compared:,}", f"{check.offending:,}")
    console.print(table)
    for check in report.checks:
        for row in check.examples:
            cells = ", ".join(f"{name} {value}" for name, value in row.items())
            console.print(f"[red]✗[/] {check.name}: {cells}", highlight=False)

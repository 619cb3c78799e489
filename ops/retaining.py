"""``millstream tables retain``: rows that are older than is declared go."""

import argparse
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flows import settings as settings_
from flows.streams import is_held_to
from flows.streams.settings import parse_duration
from operators.connectors.delta.retention import retain
from operators.records.tables import Table
from ops.dlq.roles import need


def add_options(command: argparse.ArgumentParser) -> None:
    """Add what it takes, beside tables."""
    command.add_argument(
        "--keep", metavar="DURATION", help="as declared by default: quarantines 30d"
    )
    command.add_argument("--dry-run", action="store_true", help="only count")
    command.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")


def keep_of(args: argparse.Namespace) -> timedelta | None:
    """Return what --keep says, if it does; ends the process with 2 for no duration."""
    try:
        return None if args.keep is None else parse_duration(args.keep)
    except ValueError as error:
        settings_.refuse(f"--keep: {error}", 2)


def _noted(
    root: str, table: str, keep: timedelta, why: str | None, rows: int, until: datetime
) -> None:
    from ops.dlq.acts import Acts  # which nothing else of these commands needs

    asked = {"table": table, "keep": str(keep), "older_than": until.isoformat()}
    Acts(root).note("retain", rows, asked, why)


def retained(
    args: argparse.Namespace, root: str, tables: Sequence[Table]
) -> list[dict[str, Any]]:
    """Return a row for each table with what it lost; ends the process with 2 where it may not.

    Each that loses any has a row in the audit. Raises OwnedError and StorageUnavailableError.
    """
    need("viewer" if args.dry_run else "operator")
    keep = keep_of(args)
    if keep is not None and not args.tables:
        settings_.refuse("--keep is for tables that are named", 2)
    if held := [each.name for each in tables if args.tables and is_held_to(each.name)]:
        settings_.refuse(
            f"{', '.join(held)}: state, windows and figures are made of it, so it stays whole",
            2,
        )
    found = []
    for table in tables:
        age = args.upkeep_of(table.name).retention if keep is None else keep
        if age is not None:
            told = partial(_noted, root, table.name, age, args.why)
            done = retain(root, table, age, dry=args.dry_run, told=told)
            found.append({"table": table.name, "keep": str(age), **done})
    if not found and args.tables:
        settings_.refuse("no retention is declared of these tables: state one with --keep", 2)
    return found

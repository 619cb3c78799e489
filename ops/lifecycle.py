"""``millstream tables lifecycle``: rules by which a bucket moves old days to a colder storage."""

import argparse
import json
import sys
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import polars as pl

from flows.enforced.loading import enforced_tables, upkeeps
from flows.streams import writers
from operators.records.tables import Table

_CLASSES: Final = ("STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR")
"""Those that are read at once: flows, verify and backfill read tables back to their first day."""

_LEAST: Final = 30


class LifecycleError(ValueError):
    """No rules can be made so; the message says why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes beside a root."""
    parser.add_argument("--days", type=int, default=90, metavar="N",
                        help="how old files are then (default: %(default)s)")  # fmt: skip
    parser.add_argument("--class", choices=_CLASSES, default="GLACIER_IR", dest="storage",
                        help="all are read at once (default: %(default)s)")  # fmt: skip


def show(args: argparse.Namespace, root: str) -> int:
    """Print the rules as a bucket takes them; returns 0. Raises LifecycleError."""
    known = {name: table for name, (table, _) in (writers() | enforced_tables()).items()}
    chosen = [known[name] for name in args.tables] if args.tables else [*known.values()]
    json.dump(rules(root, chosen, args.days, args.storage), sys.stdout, indent=2)
    print()
    return 0


def rules(root: str, tables: list[Table], days: int, storage: str) -> dict[str, Any]:
    """Return an S3 lifecycle configuration for the tables that are cut by days, of their files.

    A rule's prefix goes up to the column of days, and so leaves a table's log alone. Raises
    LifecycleError where the root is in no such bucket, no table is cut by days, or files would go
    that are still replaced or can be brought back.
    """
    place = urlsplit(root)
    if place.scheme not in ("s3", "s3a"):
        raise LifecycleError(f"{root} is in no bucket of S3, which is what the rules are for")
    cut = [each for each in tables if day_of(each) is not None]
    if not cut:
        raise LifecycleError(
            "none of these tables is cut by days: their files stay as they are"
        )
    upkeep_of = upkeeps()
    least = max(timedelta(days=_LEAST), *(upkeep_of(each.name).keep for each in cut))
    if timedelta(days=days) <= least:
        raise LifecycleError(
            f"--days is {days}, not more than {least.days}: younger files are still replaced, or "
            "billed for longer than they are there"
        )
    folder = place.path.strip("/")
    prefix = f"{folder}/" if folder else ""
    return {
        "Rules": [
            {
                "ID": f"millstream {each.name} after {days} days",
                "Status": "Enabled",
                "Filter": {"Prefix": f"{prefix}{each.name}/{day_of(each)}="},
                "Transitions": [{"Days": days, "StorageClass": storage}],
            }
            for each in cut
        ]
    }


def day_of(table: Table) -> str | None:
    """Return the column of days that a table's folders are named by, if they are."""
    first = next(iter(table.partition_by), None)
    return first if first is not None and table.schema[first] == pl.Date() else None

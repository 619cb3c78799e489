"""Rows of what a command has found or done, as a table or as JSON."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table as Shown


def show_rows(args: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> int:
    """Print rows, as JSON if that is asked for; returns 0."""
    if args.json:
        json.dump(rows, sys.stdout, indent=2, default=str)
        print()
        return 0
    if not rows:
        print("none of these tables")
        return 0
    shown = Shown(*(name.replace("_", " ") for name in rows[0]), box=None, pad_edge=False)
    for column, value in zip(shown.columns, rows[0].values(), strict=True):
        column.justify = "right" if isinstance(value, int | float) else "left"
        column.no_wrap, column.overflow = True, "fold"
    for row in rows:
        shown.add_row(*map(_text, row.values()))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(shown)
    return 0


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)

"""``millstream bi``: views for engines, a shell with them, and a report."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows import settings as settings_
from operators.connectors.delta.paths import check_root
from ops.bi.dialects import DIALECTS, PlaceError, written

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_EXTRA: Final = "the BI tools are an extra: pip install 'millstream[bi]'"


def add_parser(subparsers: Any) -> None:
    """Add the command ``bi``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "bi",
        help="views for BI, a shell with them, a report with pictures",
        description="Look at payments by day, category, terminal and customer. docs/bi.md has "
        f"every view and column. {_EXTRA[0].upper()}{_EXTRA[1:]}.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_views(commands)
    _add_shell(commands)
    _add_report(commands)


def _add_views(commands: Any) -> None:
    parser = commands.add_parser(
        "views",
        help="write the views as SQL of an engine",
        description="Write SQL that makes the views over the tables under "
        "MILLSTREAM_DELTA_ROOT, in the schema bi.",
    )
    parser.add_argument(
        "--dialect", choices=list(DIALECTS), default="duckdb", help="duckdb, if it is not given"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a file for each view, instead of all to stdout"
    )
    _add_root(parser)
    parser.set_defaults(func=run_views)


def _add_shell(commands: Any) -> None:
    parser = commands.add_parser(
        "shell",
        help="DuckDB with the views",
        description="Ask the views in DuckDB's SQL: a line or more that end with a semicolon; "
        "SHOW TABLES has their names, Ctrl-D ends it.",
    )
    parser.add_argument("-c", dest="sql", metavar="SQL", help="run this and end")
    parser.add_argument("--json", action="store_true", help="print a JSON object per row")
    _add_root(parser)
    parser.set_defaults(func=run_shell)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="one page with pictures",
        description="Print the executive dashboard; with --html write a page with pictures "
        "that needs nothing else: revenue by day, categories, terminals, alerts, data quality.",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--json", action="store_true", help="print each view's rows as JSON")
    _add_root(parser)
    parser.set_defaults(func=run_report)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", help="instead of MILLSTREAM_DELTA_ROOT")


def _root(args: argparse.Namespace) -> str:
    root = args.root or os.environ.get(f"{settings_.PREFIX}DELTA_ROOT")
    if not root:
        settings_.refuse("no --root, and MILLSTREAM_DELTA_ROOT is not set", 2)
    try:
        check_root(root)
    except ValueError as error:
        settings_.refuse(error, 2)
    return str(root)


def run_views(args: argparse.Namespace) -> int:
    """Write the SQL; returns 0, or ends with 1 (the folder) or 2 (settings)."""
    try:
        texts = list(written(args.dialect, _root(args)))
        if args.out is None:
            print("\n\n".join(text for _, text in texts))
            return 0
        args.out.mkdir(parents=True, exist_ok=True)
        for name, text in texts:
            (args.out / f"{name}.sql").write_text(f"{text}\n", "utf-8")
    except ImportError:
        settings_.refuse(_EXTRA, 2)
    except PlaceError as error:
        settings_.refuse(error, 2)
    except OSError as error:
        settings_.refuse(error, 1)
    return 0


def _opened(args: argparse.Namespace) -> "DuckDBPyConnection":
    """Return DuckDB with the views; says which are not there."""
    root = _root(args)
    try:
        from ops.bi.duck import NoTablesError, opened

        connection, lacking = opened(root)
    except ImportError:
        settings_.refuse(_EXTRA, 2)
    except NoTablesError as error:
        settings_.refuse(error, 1)
    if lacking:
        print(f"without {', '.join(lacking)}: their tables are not there", file=sys.stderr)
    return connection


def run_shell(args: argparse.Namespace) -> int:
    """Answer what is asked; returns 0 or 1 (a query failed), or ends with 2 (settings)."""
    connection = _opened(args)
    from ops.bi.shell import answered, statements

    asked = statements() if args.sql is None else [args.sql]
    fine = [answered(connection, each, as_json=args.json) for each in asked]
    # Who types sees what is wrong; a script that is piped in has to be told.
    return 0 if all(fine) or (args.sql is None and sys.stdin.isatty()) else 1


def run_report(args: argparse.Namespace) -> int:
    """Print the dashboard, or write the page; returns 0, or ends with 1 or 2 (settings)."""
    connection = _opened(args)
    from ops.bi.report import figures, page
    from ops.bi.shell import show, upright

    found = figures(connection)
    if args.html is not None:
        try:
            args.html.write_text(page(found), "utf-8")
        except OSError as error:
            settings_.refuse(error, 1)
    if args.json:
        told = ", ".join(
            f'"{name}": [{",".join(rows.write_ndjson().splitlines())}]'
            for name, rows in found.items()
        )
        print(f"{{{told}}}")
    else:
        show(upright(found.get("executive_dashboard", found["monthly_revenue"])))
    return 0

"""``millstream query``: SQL on the tables, without any other engine to install."""

import argparse
import os
import sys
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.enforced.loading import enforced_tables
from flows.streams import STREAMS, all_tables
from operators.connectors.delta.acts import ACTS
from operators.connectors.delta.control_history import CONTROL
from operators.connectors.delta.errors import one_line
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.records.tables import Table as Declared
from operators.windows import Session
from ops.forget.ledger import FORGOTTEN
from ops.newest import newest_rows
from ops.quality.count import QUALITY

_TABLES: Final = (*all_tables(), *ACTS, FORGOTTEN, CONTROL, QUALITY)


def add_parser(subparsers: Any) -> None:
    """Add the command ``query``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "query",
        help="run SQL on the tables",
        description="Run one SQL query (DataFusion's dialect) on the tables under "
        "MILLSTREAM_DELTA_ROOT, a_table for a/table: "
        + ", ".join(_name(table) for table in _TABLES)
        + ". Those of windows have the newest revision of each, all of them are in "
        "…_revisions.",
    )
    parser.add_argument("sql")
    parser.add_argument("--root", help="instead of MILLSTREAM_DELTA_ROOT")
    parser.add_argument("--json", action="store_true", help="print a JSON object per row")
    parser.set_defaults(func=run)


def _name(table: Declared) -> str:
    return table.name.replace("/", "_")


def query(root: str, sql: str) -> pl.DataFrame:
    """Return the result of `sql` on the tables under `root`.

    Those of topics that are enforced here are among them. Raises FileNotFoundError if there are no
    tables, and what DataFusion raises for SQL that it
    can't run, as a plain Exception.
    """
    engine = QueryBuilder()
    sessions = {
        each.window_table(name).name
        for each in STREAMS
        for name in each.windows
        if isinstance(each.windows[name].window, Session)
    }
    found = False
    for table in (*_TABLES, *(each for each, _ in enforced_tables().values())):
        uri = table_uri(root, table.name)
        if not DeltaTable.is_deltatable(uri):
            continue
        found = True
        name, handle = _name(table), DeltaTable(uri)
        if "revision" not in table.columns:
            engine = engine.register(name, handle)
            continue
        engine = engine.register(f"{name}_revisions", handle)
        # Another release may have made it, or someone have added columns.
        there = sorted(columns_of(handle), key=[*table.schema, *columns_of(handle)].index)
        newest = newest_rows(f"{name}_revisions", there, sessions=table.name in sessions)
        engine.execute(f"CREATE VIEW {name} AS {newest}")
    if not found:
        raise FileNotFoundError(f"no tables under {root}: name their folder with --root")
    return pl.DataFrame(pl.from_arrow(pa.table(engine.execute(sql).read_all())))


def run(args: argparse.Namespace) -> int:
    """Print the result; returns 0, 1 (the query failed) or 2 (settings)."""
    root = args.root or os.environ.get(f"{settings_.PREFIX}DELTA_ROOT")
    if not root:
        settings_.refuse("no --root, and MILLSTREAM_DELTA_ROOT is not set", 2)
    try:
        result = query(root, args.sql)
    # The engine raises plain Exceptions for every mistake in the query.
    except Exception as error:
        settings_.refuse(one_line(error), 1)
    if args.json:
        sys.stdout.write(result.write_ndjson())
        return 0
    table = Table(*result.columns, box=None, pad_edge=False)
    for row in result.iter_rows():
        table.add_row(*("" if value is None else str(value) for value in row))
    Console().print(table, highlight=False)
    return 0

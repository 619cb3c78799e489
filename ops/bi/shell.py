"""Shell: what is asked of the views, and what they answer."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
from duckdb import DuckDBPyConnection
from rich.console import Console
from rich.table import Table


def statements() -> Iterator[str]:
    """Yield what is typed, or piped in, up to each semicolon at a line's end."""
    prompt = sys.stdin.isatty()
    if prompt:
        import readline  # noqa: F401 # gives lines a history and keys

    held: list[str] = []
    while True:
        try:
            line = input(("... " if held else "bi> ") if prompt else "")
        except EOFError:
            break
        held.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(held)
            held = []
    if any(line.strip() for line in held):
        yield "\n".join(held)


def answered(connection: DuckDBPyConnection, sql: str, *, as_json: bool) -> bool:
    """Print what a statement returns; tells whether it could be run."""
    try:
        result = connection.sql(sql)
        rows = None if result is None else result.pl()
    except duckdb.Error as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    if rows is None:
        return True
    if as_json:
        sys.stdout.write(rows.write_ndjson())
    else:
        show(rows)
    return True


def show(rows: pl.DataFrame) -> None:
    """Print rows as a table."""
    table = Table(*rows.columns, box=None, pad_edge=False)
    for row in rows.iter_rows():
        table.add_row(*("" if value is None else str(value) for value in row))
    # What a script reads is cut nowhere.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table, highlight=False)


def upright(rows: pl.DataFrame) -> pl.DataFrame:
    """Return few rows of many columns as many rows of few, texts."""
    texts = [[_text(value) for value in column] for column in rows.iter_columns()]
    head, *others = zip(rows.columns, texts, strict=True)
    names = [head[0], *head[1]]
    return pl.DataFrame([[name, *values] for name, values in others], names, orient="row")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    return "" if value is None else str(value)

"""Parts: a table's rows a source partition at a time, and those that a frontier accounts for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.definitions import history
from operators.event_time.frontier import Frontier
from operators.records.tables import Table

LATENESS: Final = "lateness"
"""What it is called that a table tells of how long its windows stay open behind their end."""


def as_kept(table: Table, handle: DeltaTable) -> Table:
    """Return a table whose windows close when no revision of them is to come any more.

    When a pane was due is not in the table; that its window has been closed is told by the end.
    """
    if table.fenced != "by window" or table.closes in table.columns:
        return table
    told = (history(handle) or {}).get(LATENESS)
    late = int(told[-1].text or 0) if told else 0
    return replace(table, closes="window_end", lateness=late)


def parts_of(table: Table, frontier: Frontier) -> Iterator[str]:
    """Yield SQL for parts of a table, so that not all of its rows need be in memory."""
    if table.fenced == "by window":
        yield ""
        return
    for topic, partition in sorted(frontier.offsets):
        name = topic.replace("'", "''")
        yield f"source_topic = '{name}' AND source_partition = {partition}"


def accounted_for(table: Table, rows: pl.DataFrame, frontier: Frontier) -> pl.DataFrame:
    """Return the rows that a frontier accounts for."""
    if not rows.height:
        return rows
    numbered = rows.with_row_index("_row")
    beyond = frontier.beyond(table, numbered)["_row"]
    return numbered.filter(~pl.col("_row").is_in(beyond.implode())).drop("_row")

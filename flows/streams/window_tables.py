"""Tables of windows."""

from collections.abc import Mapping

import polars as pl

from operators.records.tables import TIME, Table
from operators.windows import Windows


def table_of_windows(name: str, windows: Windows, columns: Mapping[str, pl.DataType]) -> Table:
    """Return the table of some windows of rows that have these columns."""
    found: dict[str, pl.DataType] = {
        **{key: columns[key] for key in windows.by},
        "window_start": TIME,
        "window_end": TIME,
        "revision": pl.Int32(),
        **{n: each.result(columns) for n, each in windows.aggregates.items()},
    }
    texts = [n for n, a in windows.aggregates.items() if found[n] == pl.String()]
    return Table(name, found, fenced="by window", closes="closes", scattered=tuple(texts))

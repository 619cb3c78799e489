"""Reading tables through deltalake itself, so that whatever it can write can be read.

Other readers of Delta fail on folders with a space in their path, or on features of a table
that another engine turned on.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from operators.connectors.delta.layout import columns_of


def query(table: DeltaTable, sql: str) -> pl.DataFrame:
    """Return the result of SQL on a table, whose name in it is `rows`; raises DeltaError."""
    return collected(QueryBuilder().register("rows", table), sql)


def collected(engine: QueryBuilder, sql: str) -> pl.DataFrame:
    """Return the result of SQL on an engine's tables; raises DeltaError."""
    try:
        found = _reader(engine, sql).read_all()
    except DeltaError:
        raise
    except Exception as error:  # deltalake raises plain ones for files that it does not reach
        raise DeltaError(str(error)) from error
    return pl.DataFrame(found)


def streamed(engine: QueryBuilder, sql: str) -> Iterator[pl.DataFrame]:
    """Yield the result of SQL on an engine's tables as it comes; raises DeltaError."""
    try:
        for batch in _reader(engine, sql):
            yield pl.DataFrame(batch)
    except DeltaError:
        raise
    except Exception as error:  # deltalake raises plain ones, for SQL and for files alike
        raise DeltaError(str(error)) from error


def _reader(engine: QueryBuilder, sql: str) -> Any:
    """Return what reads the result without the interpreter's lock.

    deltalake's own reader keeps it for as long as the query runs, and all other threads stand
    still. What has not imported PyArrow, as every flow has, is a tool that has none, and starts
    sooner without.
    """
    found = engine.execute(sql)
    arrow = sys.modules.get("pyarrow")
    return found if arrow is None else arrow.RecordBatchReader.from_stream(found)


def read(
    table: DeltaTable, columns: Mapping[str, pl.DataType] | Iterable[str], where: str = ""
) -> pl.DataFrame:
    """Return columns of a table's rows, of those for which the SQL `where` holds.

    A column that the table does not have is null, as it is in rows older than itself.
    """
    there = columns_of(table)
    known = [name for name in columns if name in there]
    names = ", ".join(f'"{name}"' for name in known)
    rows = query(table, f"SELECT {names} FROM rows{where and ' WHERE '}{where}")  # noqa: S608 # our own
    kinds = columns if isinstance(columns, Mapping) else {}
    # The engine has types of its own for the same values.
    return rows.select(
        pl.col(name).cast(there[name])
        if name in there
        else pl.lit(None, kinds.get(name)).alias(name)
        for name in columns
    )

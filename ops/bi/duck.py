"""DuckDB with the views, over tables as deltalake reads them: it needs no extension of its own."""

from dataclasses import replace
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from operators.connectors.delta.paths import local_folder, table_uri
from ops.bi.dialects import DIALECTS
from ops.bi.views import SCHEMA, SOURCES, Source, views

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class NoTablesError(Exception):
    """There is no table to look at."""


def opened(root: str) -> "tuple[DuckDBPyConnection, list[str]]":
    """Return DuckDB with each view whose tables are there, and the names of the others.

    Raises NoTablesError if that is none, and ImportError if DuckDB is not there.
    """
    import duckdb  # of the extra `bi`

    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = 'UTC'; CREATE SCHEMA {SCHEMA}")
    there = {each.name for each in SOURCES.values() if _register(connection, root, each)}
    lacking = []
    for view in views():
        if view.reads <= there:
            connection.execute(DIALECTS["duckdb"].view(view))
        else:
            lacking.append(view.name)
    if len(lacking) == len(views()):
        connection.close()
        raise NoTablesError(
            f"no tables of days under {root}: name their folder with --root, or start the flow"
        )
    connection.execute(f"SET search_path = '{SCHEMA}'")
    return connection, lacking


def _register(connection: "DuckDBPyConnection", root: str, source: Source) -> bool:
    """Make a table's view, if there is the table."""
    uri = table_uri(root, source.table.name)
    if not DeltaTable.is_deltatable(uri):
        return False
    handle, held = DeltaTable(uri), f"table_{source.name}"
    # PyArrow's dataset would do for both, but that DuckDB hands it filters on texts which it fails
    # on where Polars has written the files, as views of texts.
    if local_folder(uri) is None:
        connection.register(held, handle.to_pyarrow_table(columns=list(source.columns)))
    else:
        schema = handle.to_pyarrow_dataset().schema
        connection.register(f"no_{held}", schema.empty_table())
        rows = f"SELECT * FROM no_{held}"  # noqa: S608 # our own names
        if files := handle.file_uris():
            # Those from before a column was added lack it.
            found = connection.read_parquet(files, union_by_name=True)
            found.create_view(f"files_{held}")
            rows += f" UNION ALL BY NAME SELECT * FROM files_{held}"  # noqa: S608 # as above
        connection.execute(f"CREATE VIEW {held} AS {rows}")
    engine = replace(DIALECTS["duckdb"], rows=lambda *_: held)
    connection.execute(engine.table(source, uri))
    return True

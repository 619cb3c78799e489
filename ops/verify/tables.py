"""The tables that are verified."""

from collections.abc import Mapping

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.reading import query, read
from operators.connectors.delta.retention import cut_of
from operators.connectors.delta.table import table_uri


def uncut(ends: Mapping[int, int], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of records behind an offset by partition."""
    if not ends:
        return rows
    last = pl.col("source_partition").replace_strict(ends, default=-1, return_dtype=pl.Int64)
    return rows.filter(pl.col("source_offset") > last)


class MissingTableError(RuntimeError):
    """A table is not there: no flow has written under this root."""


class Tables:
    """The tables, each pinned to the version it had when it was first looked at."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._handles: dict[str, DeltaTable] = {}

    def handle(self, name: str) -> DeltaTable:
        """Return a table; raises MissingTableError."""
        if name not in self._handles:
            uri = table_uri(self._root, name)
            if not DeltaTable.is_deltatable(uri):
                raise MissingTableError(f"there is no table {uri}; has the flow run?")
            self._handles[name] = DeltaTable(uri)
        return self._handles[name]

    def read(
        self, name: str, columns: Mapping[str, pl.DataType] | list[str], where: str = ""
    ) -> pl.DataFrame:
        """Return columns of a table's rows, of those for which the SQL `where` holds."""
        return read(self.handle(name), columns, where)

    def cut(self, name: str, topic: str) -> dict[int, int]:
        """Return by partition of a topic the last offset that retention has cut from a table."""
        return cut_of(self.handle(name)).of(topic)

    def height(self, name: str) -> int:
        """Return how many rows a table has."""
        return int(query(self.handle(name), "SELECT count(*) FROM rows").item())

    def there(self, name: str) -> bool:
        """Tell whether a table is there."""
        return DeltaTable.is_deltatable(table_uri(self._root, name))

"""The tables that are verified."""

from collections.abc import Mapping

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.reading import query, read
from operators.connectors.delta.table import table_uri


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

    def read(self, name: str, columns: Mapping[str, pl.DataType] | list[str]) -> pl.DataFrame:
        """Return columns of a table's rows."""
        return read(self.handle(name), columns)

    def height(self, name: str) -> int:
        """Return how many rows a table has."""
        return int(query(self.handle(name), "SELECT count(*) FROM rows").item())

    def there(self, name: str) -> bool:
        """Tell whether a table is there."""
        return DeltaTable.is_deltatable(table_uri(self._root, name))

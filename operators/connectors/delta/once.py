"""Once: the writer of a table that has what comes first of each key, and nothing after."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching
from operators.connectors.delta.writer import Owner, TableItem, Writer
from operators.records.batches import Progress
from operators.records.tables import Table


def once(table: Table, key: Sequence[str]) -> dict[str, Any]:
    """Return, by its name, how the writer of a table is made that has each key once."""
    return {table.name: partial(_OnceWriter, tuple(key))}


class _OnceWriter(Writer):
    """What it knows is what the table has, so no state can be lost or be behind it."""

    def __init__(
        self, key: Sequence[str], sink: Owner, table: Table, state: dict[str, Any] | None
    ) -> None:
        super().__init__(sink, table, state)
        self._key = list(key)
        with reaching(self._handle.table_uri):
            self._known = read(self._handle, self._key).unique()

    def write_batch(self, values: list[TableItem]) -> None:
        for each in values:
            if isinstance(each, Progress):
                super().write_batch([each])
                continue
            for rows in each.partition_by(self._key, maintain_order=True):
                key = rows[:1].select(pl.col(k).cast(self._known.schema[k]) for k in self._key)
                if key.join(self._known, on=self._key).is_empty():
                    self._known.extend(key)
                    super().write_batch([rows])

"""What a table has of records that were sent again, and of those that they may be."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.letters import quoted
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import Fence, reaching
from operators.records.identities import ORIGIN
from operators.records.tables import Table

_OFFSET: Final = "source_offset"
_AT_ONCE: Final = 2_000
"""Ids that are asked for in one query."""


class SilverPast:
    """The good records of a topic, as its table of them has them; see `Past`.

    Raises StorageUnavailableError.
    """

    def __init__(self, root: str, table: Table, fence: Fence, topic: str, id_: str) -> None:
        self._uri, self._table, self._fence = table_uri(root, table.name), table, fence
        self._topic, self._id = topic, id_
        self._handle: DeltaTable | None = None

    def again(self, partition: int) -> Mapping[Any, int]:
        """Return by id the first offset of those that were sent again."""
        found = self._offsets(partition, f'"{ORIGIN}" IS NOT NULL', needs=ORIGIN)
        return {id_: offsets[0] for id_, offsets in found.items()}

    def between(
        self, partition: int, ids: list[Any], after: int, before: int
    ) -> Mapping[Any, Sequence[int]]:
        """Return by id the offsets, ascending, of those with some ids between two offsets."""
        named = self._id.replace('"', '""')
        within = f"{_OFFSET} > {after} AND {_OFFSET} < {before}"
        found: dict[Any, Sequence[int]] = {}
        for begin in range(0, len(ids), _AT_ONCE):
            some = ", ".join(
                quoted(each) if isinstance(each, str) else str(each)
                for each in ids[begin : begin + _AT_ONCE]
            )
            found |= self._offsets(
                partition, f'{within} AND "{named}" IN ({some})', needs=self._id
            )
        return found

    def committed(self, partition: int) -> int:
        """Return the last offset that the table accounts for."""
        with reaching(self._uri):
            handle = self._newest()
            if handle is None:
                return -1
            return recorded(handle, self._fence).offsets.get((self._topic, partition), -1)

    def _newest(self) -> DeltaTable | None:
        if self._handle is not None:
            self._handle.update_incremental()
        elif DeltaTable.is_deltatable(self._uri):
            self._handle = DeltaTable(self._uri)
        return self._handle

    def _offsets(self, partition: int, where: str, needs: str) -> dict[Any, Sequence[int]]:
        with reaching(self._uri):
            handle = self._newest()
            if handle is None or needs not in columns_of(handle):
                return {}
            kinds = {self._id: self._table.schema[self._id], _OFFSET: pl.Int64()}
            mine = f"source_topic = {quoted(self._topic)} AND source_partition = {partition}"
            rows = read(handle, kinds, f"{mine} AND {where}").drop_nulls(self._id)
        each = rows.group_by(self._id).agg(pl.col(_OFFSET).sort())
        return dict(each.select(self._id, _OFFSET).iter_rows())

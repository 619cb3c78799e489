"""Delta tables: where they lie, how they are opened, and what they account for."""

from collections.abc import Sequence

import polars as pl
from deltalake import DeltaTable, Transaction

from operators.batches import NO_WATERMARK
from operators.tables import Frontier, Table


class FencedError(RuntimeError):
    """Another owner writes to the table, or it does not belong to this recovery store."""


class StorageUnavailableError(RuntimeError):
    """The table's storage refused several attempts."""


def table_uri(root: str, name: str) -> str:
    """Return where a table lies under the root, a path or an object store's URL."""
    return f"{root.rstrip('/')}/{name}"


def open_table(root: str, table: Table) -> DeltaTable:
    """Open a table, creating it first if need be."""
    uri = table_uri(root, table.name)
    schema = (
        pl.DataFrame(schema=table.schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    )
    return DeltaTable.create(
        uri,
        schema,
        mode="ignore",
        partition_by=list(table.partition_by),
        configuration={"delta.checkpointInterval": "50"},
    )


def restored_to(table: DeltaTable) -> int | None:
    """Return the version that a table was restored to after its newest rows were written."""
    limit = 10
    while True:
        commits = table.history(limit)
        for commit in commits:
            if commit.get("operation") == "RESTORE":
                return int(commit["operationParameters"]["version"])
            if commit.get("operation") == "WRITE":
                return None
        if len(commits) < limit:
            return None
        limit *= 10


class Fence:
    """Reads and writes a table's frontier: `txn` actions committed together with the rows.

    One per source partition, whose version is the last offset, one whose version is the flow's
    watermark in µs, and one per partition that joined later, whose version is its floor. A
    `txn` without a time is kept for ever.
    """

    def __init__(self, flow: str, partitions: Sequence[tuple[str, int]]) -> None:
        self._flow = flow
        self._partitions = tuple(partitions)

    def _offset_id(self, topic: str, partition: int) -> str:
        return f"{self._flow}/{topic}/{partition}"

    def _floor_id(self, topic: str, partition: int) -> str:
        return f"{self._offset_id(topic, partition)}/floor"

    @property
    def _watermark_id(self) -> str:
        return f"{self._flow}/watermark"

    def read(self, table: DeltaTable) -> Frontier:
        """Return what the handle's snapshot of the table accounts for."""
        offsets = {}
        for topic, partition in self._partitions:
            offset = table.transaction_version(self._offset_id(topic, partition))
            if offset is not None:
                offsets[topic, partition] = offset
        floors = {}
        for place in self._partitions:
            floor = table.transaction_version(self._floor_id(*place))
            if floor is not None:
                floors[place] = floor
        watermark = table.transaction_version(self._watermark_id)
        return Frontier(offsets, NO_WATERMARK if watermark is None else watermark, floors)

    def transactions(self, frontier: Frontier) -> list[Transaction]:
        """Return the actions that record a frontier."""
        found = [
            Transaction(self._offset_id(topic, partition), offset)
            for (topic, partition), offset in frontier.offsets.items()
        ]
        found += [
            Transaction(self._floor_id(topic, partition), floor)
            for (topic, partition), floor in frontier.floors.items()
        ]
        if frontier.watermark != NO_WATERMARK:
            found.append(Transaction(self._watermark_id, frontier.watermark))
        return found

"""Delta tables: where they lie, how they are opened, and what they account for."""

import time
from collections.abc import Mapping, Sequence

import polars as pl
from deltalake import DeltaTable, Transaction

from operators.batches import NO_WATERMARK
from operators.connectors.topic_ids import HOW_TO_GO_ON, TopicChangedError, number
from operators.errors import KnownError
from operators.tables import Frontier, Table


class FencedError(KnownError):
    """Another owner writes to the table, or it does not belong to this recovery store."""


class StorageUnavailableError(KnownError):
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


def table_id(root: str, table: Table, *, make: bool, timeout: float) -> str:
    """Return the id that Delta gave a table when it was made.

    One process of a flow is to `make` it if need be, as two that do so at once may each have
    another id of it; the others wait for it. Raises StorageUnavailableError after `timeout` s.
    """
    uri, deadline = table_uri(root, table.name), time.monotonic() + timeout
    while not (make or DeltaTable.is_deltatable(uri)):
        if time.monotonic() > deadline:
            raise StorageUnavailableError(
                f"{table.name}: not made by the flow's first process (-i 0) in {timeout:.0f} s"
            )
        time.sleep(0.1)
    return str(open_table(root, table).metadata().id)


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
    watermark in µs, one per partition that joined later, whose version is its floor, and which
    topics those are, as `number` makes versions of their names and ids. A `txn` without a time
    is kept for ever.
    """

    def __init__(
        self,
        flow: str,
        partitions: Sequence[tuple[str, int]],
        identities: Mapping[str, str] | None = None,
    ) -> None:
        """`identities` are the topics' own, as `identify` gives them."""
        self._flow = flow
        self._partitions = tuple(partitions)
        self._topics = sorted({topic for topic, _ in partitions})
        known = identities or {}
        self._ids = {t: number(known[t]) for t in known if not known[t].endswith("/")}

    @property
    def _topics_id(self) -> str:
        return f"{self._flow}/topics"

    def _identity_id(self, topic: str) -> str:
        return f"{self._flow}/{topic}/id"

    def refuse_others(self, table: DeltaTable) -> None:
        """Raise TopicChangedError for a table that accounts for other topics than the fence's.

        One that was written before tables knew which topics theirs are takes that up with its
        next commit.
        """
        where = f"table {table.table_uri}"
        names = table.transaction_version(self._topics_id)
        if names is None:
            written = table.transaction_version(self._watermark_id) is not None
            other = written and not self.read(table).offsets
        else:
            other = names != number(*self._topics)
        if other:
            raise TopicChangedError(
                f"{where} was made of other topics than {' and '.join(self._topics)}. "
                + HOW_TO_GO_ON
            )
        for topic, mine in self._ids.items():
            if table.transaction_version(self._identity_id(topic)) not in (None, mine):
                raise TopicChangedError(
                    f"{where} was made of another topic {topic}: that one was deleted and made "
                    "anew, or these are other brokers. " + HOW_TO_GO_ON
                )

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
        found += [
            Transaction(self._identity_id(topic), id_) for topic, id_ in self._ids.items()
        ]
        return [*found, Transaction(self._topics_id, number(*self._topics))]

"""The history of control topics as a table: each change once, also those that compaction took."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table, reaching
from operators.control.records import ControlRecord
from operators.records.tables import TIME, Table

CONTROL: Final = Table(
    "ops/control",
    {
        "stream": pl.String(),
        "topic_id": pl.String(),
        "offset": pl.Int64(),
        "kafka_timestamp": TIME,
        "effective_from": TIME,
        "kind": pl.String(),
        "name": pl.String(),
        "version": pl.Int32(),
        "who": pl.String(),
        "why": pl.String(),
        "refused": pl.String(),
        "key": pl.Binary(),
        "value": pl.Binary(),
    },
)
"""A row per record of a stream's control topic, those that were refused with why."""


class ControlHistory:
    """What a stream's flow has read of its control topic, by the topic's identity."""

    def __init__(self, root: str, stream: str, identity: str) -> None:
        self._root, self._stream, self._identity = root, stream, identity
        self._app = f"millstream/control/{stream}/{identity}"

    def records(self) -> list[ControlRecord]:
        """Return the records, topics that had this name before first, each by offset.

        Raises StorageUnavailableError.
        """
        uri = table_uri(self._root, CONTROL.name)
        with reaching(uri):
            if not DeltaTable.is_deltatable(uri):
                return []
            rows = read(DeltaTable(uri), CONTROL.schema).filter(stream=self._stream)
        first = pl.col("written_at").min().over("topic_id").alias("first")
        mine = (pl.col("topic_id") == self._identity).alias("mine")
        rows = rows.with_columns(first, mine).sort("mine", "first", "topic_id", "offset")
        return [
            ControlRecord(row["offset"], row["time"], row["key"], row["value"], row["topic_id"])
            for row in rows.with_columns(
                time=pl.col("kafka_timestamp").to_physical()
            ).iter_rows(named=True)
        ]

    def add(self, records: Sequence[ControlRecord]) -> None:
        """Write records, those that it has already once; the flow's first process does.

        Raises StorageUnavailableError.
        """
        handle = open_table(self._root, CONTROL)
        with reaching(table_uri(self._root, CONTROL.name)):
            last = handle.transaction_version(self._app)
            new = [each for each in records if last is None or each.offset > last]
            if not new:
                return
            sync_table(handle)
            rows = pl.DataFrame([self._row(each) for each in new], schema=CONTROL.schema)
            # Through the handle whose number was read: nobody else writes them meanwhile.
            properties = CommitProperties(
                app_transactions=[Transaction(self._app, new[-1].offset)]
            )
            write_deltalake(handle, rows, mode="append", commit_properties=properties)
            sync_commit(handle)

    def _row(self, record: ControlRecord) -> dict[str, object]:
        row: dict[str, object] = dict.fromkeys(CONTROL.columns)
        row |= {
            "stream": self._stream, "topic_id": self._identity, "offset": record.offset,
            "kafka_timestamp": record.time, "refused": record.refused,
            "key": record.key, "value": record.value,
            "flow_version": version("millstream"), "written_at": datetime.now(UTC),
        }  # fmt: skip
        change = record.change
        if change is not None:
            row |= {
                "effective_from": change.begins, "kind": change.kind, "name": change.name,
                "version": change.version, "who": change.who, "why": change.why,
            }  # fmt: skip
        return row

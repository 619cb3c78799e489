"""Acts: what people did with rejects, as rows of tables that are only added to."""

import getpass
import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from operators.connectors.delta.acts import AUDIT
from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table
from operators.records.tables import STAMPS, Table
from ops.dlq.quarantine import QuarantineError


class Acts:
    """The tables of acts under a root. All of it raises QuarantineError."""

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, table: Table) -> pl.DataFrame:
        """Return all rows; none, where there is no table."""
        uri = table_uri(self.root, table.name)
        if not DeltaTable.is_deltatable(uri):
            return pl.DataFrame(schema=table.schema)
        try:
            return read(DeltaTable(uri), table.schema)
        except DeltaError as error:
            raise QuarantineError(f"{table.name}: {error}") from error

    def note(
        self,
        action: str,
        records: int,
        asked: Mapping[str, Any] | None = None,
        why: str | None = None,
        **of: str | int,
    ) -> None:
        """Add an action to the audit; `of` names what it was, such as the replay."""
        filters = None if asked is None else json.dumps(asked, default=str)
        row = {
            "action": action, "who": who(), "at": datetime.now(UTC), "filter": filters,
            "records": records, "why": why, **of,
        }  # fmt: skip
        self.append(self.opened(AUDIT), AUDIT, pl.DataFrame([row], schema=dict(AUDIT.columns)))

    def opened(self, table: Table) -> DeltaTable:
        """Return a table's handle; it is made if need be."""
        handle = open_table(self.root, table)
        sync_table(handle)
        return handle

    def next_number(self, handle: DeltaTable, app: str) -> int:
        """Return the number of the commit that `add` may make through this handle."""
        return (handle.transaction_version(app) or 0) + 1

    def add(
        self, handle: DeltaTable, table: Table, rows: pl.DataFrame, app: str, what: str
    ) -> None:
        """Add rows, if nobody else has since the handle was opened."""
        # Through the handle whose number is read: together an atomic compare-and-set.
        number = self.next_number(handle, app)
        properties = CommitProperties(app_transactions=[Transaction(app, number)])
        try:
            self.append(handle, table, rows, properties)
        except CommitFailedError as error:
            raise QuarantineError(
                f"another {what} began at the same time: run it again"
            ) from error

    def append(
        self,
        handle: DeltaTable,
        table: Table,
        rows: pl.DataFrame,
        properties: CommitProperties | None = None,
    ) -> None:
        """Add rows, whoever else does."""
        stamps = {
            "flow_version": pl.lit(version("millstream")),
            "written_at": pl.lit(datetime.now(UTC)).cast(STAMPS["written_at"]),
        }
        laid_out = rows.with_columns(**stamps).select(*table.schema)
        write_deltalake(handle, laid_out, mode="append", commit_properties=properties)
        sync_commit(handle)


def new_name() -> str:
    """Return a name for what is done now, such as a replay."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def who() -> str:
    """Return the name of who does it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())

"""Replays as tables: which rejects were sent again, claimed before they are, and what was done.

A reject is sent again once: who sends has claimed it, in one commit that lets no other in.
"""

import getpass
import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table
from operators.records.tables import STAMPS, Table
from ops.dlq.quarantine import PLACE, QuarantineError
from ops.dlq.tables import AUDIT, REPLAYS

BEGUN: Final = "replay"
DONE: Final = "replayed"

_APP: Final = "millstream/replays"


class Replays:
    """The replays of the tables under a root."""

    def __init__(self, root: str) -> None:
        self._root = root

    def claimed(self) -> pl.DataFrame:
        """Return every reject that was claimed so far."""
        return self._read(REPLAYS)

    def unfinished(self) -> list[str]:
        """Return the replays that were claimed and not reported done, the oldest first."""
        begun = self.claimed().sort("written_at")["replay"].unique(maintain_order=True)
        done = set(self._read(AUDIT).filter(action=DONE)["replay"])
        return [each for each in begun if each not in done]

    def claim(
        self,
        stream: str,
        chosen: pl.DataFrame,
        behind: Mapping[tuple[str, int], int],
        asked: Mapping[str, Any],
        why: str | None,
    ) -> str:
        """Claim rejects, with coordinates and fingerprint, for one replay; return its name.

        `behind` are the topics' ends as they are now; `asked` and `why` are for the audit.
        Raises QuarantineError if another replay claims at the same time.
        """
        handle = open_table(self._root, REPLAYS)
        sync_table(handle)
        number = (handle.transaction_version(_APP) or 0) + 1
        already = read(handle, list(PLACE))
        if chosen.join(already, on=PLACE, how="semi").height:
            raise QuarantineError("another replay has claimed some of these: run it again")
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        ends = [behind[place] for place in chosen.select(PLACE[:2]).iter_rows()]
        rows = chosen.select(*PLACE, "fingerprint").with_columns(
            pl.lit(name).alias("replay"),
            pl.lit(stream).alias("stream"),
            pl.Series("sent_behind", ends, pl.Int64),
        )
        self._note(BEGUN, name, rows.height, asked, why)
        try:
            # Through the handle whose number was read: together an atomic compare-and-set.
            self._append(handle, REPLAYS, rows, CommitProperties(
                app_transactions=[Transaction(_APP, number)]
            ))  # fmt: skip
        except CommitFailedError as error:
            raise QuarantineError(
                "another replay began at the same time: run it again"
            ) from error
        return name

    def done(self, replay: str, records: int) -> None:
        """Report a replay as done."""
        self._note(DONE, replay, records)

    def _note(
        self,
        action: str,
        replay: str,
        records: int,
        asked: Mapping[str, Any] | None = None,
        why: str | None = None,
    ) -> None:
        filters = None if asked is None else json.dumps(asked, default=str)
        row = {
            "action": action, "replay": replay, "who": _who(), "at": datetime.now(UTC),
            "filter": filters, "records": records, "why": why,
        }  # fmt: skip
        handle = open_table(self._root, AUDIT)
        sync_table(handle)
        self._append(handle, AUDIT, pl.DataFrame([row], schema=dict(AUDIT.columns)))

    def _append(
        self,
        handle: DeltaTable,
        table: Table,
        rows: pl.DataFrame,
        properties: CommitProperties | None = None,
    ) -> None:
        stamps = {
            "flow_version": pl.lit(version("millstream")),
            "written_at": pl.lit(datetime.now(UTC)).cast(STAMPS["written_at"]),
        }
        laid_out = rows.with_columns(**stamps).select(*table.schema)
        write_deltalake(handle, laid_out, mode="append", commit_properties=properties)
        sync_commit(handle)

    def _read(self, table: Table) -> pl.DataFrame:
        uri = table_uri(self._root, table.name)
        if not DeltaTable.is_deltatable(uri):
            return pl.DataFrame(schema=table.schema)
        try:
            return read(DeltaTable(uri), table.schema)
        except DeltaError as error:
            raise QuarantineError(f"{table.name}: {error}") from error


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())

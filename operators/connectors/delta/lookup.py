"""Looking rows up: which of a replay's rows a table lacks, where no fence tells."""

import logging
import time
from collections.abc import Sequence
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from operators.connectors.delta.errors import reason
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table, table_uri, unavailable
from operators.records.tables import Table

LOG: Final = logging.getLogger("millstream.delta")

_ATTEMPTS: Final = 6


def lacking(root: str, table: Table, frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return of each frame the rows that a table does not have, by its `compared` columns.

    Raises StorageUnavailableError if the table cannot be read in several attempts, and what
    `open_table` does.
    """
    attempt = 0
    while frames:
        # Opened now: the files that an older handle knows may have been compacted and deleted.
        there = open_table(root, table)
        try:
            return [_lacking(there, rows, table.compared) for rows in frames]
        except (DeltaError, OSError) as error:
            attempt += 1
            LOG.warning(
                "%s: looking up failed (attempt %d): %s", table.name, attempt, reason(error)
            )
            if attempt == _ATTEMPTS:
                raise unavailable(table_uri(root, table.name), error) from error
            time.sleep(0.1 * 2**attempt)
    return []


def _lacking(table: DeltaTable, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    offsets = rows["source_offset"].to_numpy()
    there = read(table, keys, f"source_offset BETWEEN {offsets.min()} AND {offsets.max()}")
    return rows.join(there, on=list(keys), how="anti")

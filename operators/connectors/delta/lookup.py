"""Looking rows up: which of a replay's rows a table lacks, where no fence tells."""

import logging
import time
from collections.abc import Sequence
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from operators.connectors.delta.errors import StorageUnavailableError, reason
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table, table_uri, unavailable
from operators.records.tables import Table

LOG: Final = logging.getLogger("millstream.delta")

_ATTEMPTS: Final = 6


def lacking(root: str, table: Table, frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the rows of frames that a table does not have, by its `compared` columns.

    They come as one frame, if there is any. Raises StorageUnavailableError if the table cannot be
    read in several attempts, and UnfitTableError.
    """
    attempt = 0
    while frames:
        try:
            # Opened now: the files that an older handle knows may be compacted and deleted.
            return [_lacking(open_table(root, table), pl.concat(frames), table.compared)]
        except (DeltaError, OSError, StorageUnavailableError) as error:
            attempt += 1
            LOG.warning(
                "%s: looking up failed (attempt %d): %s", table.name, attempt, reason(error)
            )
            if attempt == _ATTEMPTS:
                if isinstance(error, StorageUnavailableError):
                    raise
                raise unavailable(table_uri(root, table.name), error, reading=True) from error
            time.sleep(0.1 * 2**attempt)
    return []


def _lacking(table: DeltaTable, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    offsets = rows["source_offset"].to_numpy()
    there = read(table, keys, f"source_offset BETWEEN {offsets.min()} AND {offsets.max()}")
    return rows.join(there, on=list(keys), how="anti", nulls_equal=True)

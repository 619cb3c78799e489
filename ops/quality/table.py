"""The table of quality: revisions of what is counted, each with what it was counted of."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table, reaching
from operators.errors import KnownError
from ops.quality.count import COUNTS, KEY, QUALITY, SOURCES, counted, newest, opened, revised

_APP: Final = "millstream/rule_quality"
_OF: Final = "quality of"


class QualityError(KnownError):
    """There is nothing to count of, or another writes the table at the same time."""


def bring_up(
    root: str, known: Mapping[str, int] | None = None
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Bring the table to what is known by now; return its newest rows and what they are of.

    That are the tables' versions; where they are those that are `known`, nothing is counted.
    Raises QualityError and StorageUnavailableError.
    """
    sources = opened(root)
    missing = [name for name in SOURCES[:2] if name not in sources]
    if missing:
        raise QualityError(f"there is no table {' and no '.join(missing)}; has the flow run?")
    versions = {name: table.version() for name, table in sources.items()}
    handle = open_table(root, QUALITY)
    sync_table(handle)
    there = newest(_rows(handle))
    if known != versions:
        rows = revised(there, counted(sources))
        if rows.height:
            _write(handle, rows, versions)
            there = newest(pl.concat([there, rows]))
    return there, versions


def _rows(handle: DeltaTable) -> pl.DataFrame:
    with reaching(handle.table_uri):
        return read(
            handle, {**KEY, "revision": pl.Int32(), **dict.fromkeys(COUNTS, pl.Int64())}
        )


def _write(handle: DeltaTable, rows: pl.DataFrame, versions: Mapping[str, int]) -> None:
    stamps = {
        "flow_version": pl.lit(version("millstream")),
        "written_at": pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC")),
    }
    number = (handle.transaction_version(_APP) or 0) + 1
    try:
        # Through the handle whose rows were read: another's commit in between refuses.
        write_deltalake(
            handle,
            rows.with_columns(**stamps),
            mode="append",
            commit_properties=CommitProperties(
                custom_metadata={"userMetadata": json.dumps({_OF: dict(versions)})},
                app_transactions=[Transaction(_APP, number)],
            ),
        )
    except CommitFailedError as error:
        raise QualityError(
            f"{QUALITY.name}: another command counts at the same time; one is enough, stop one"
        ) from error
    sync_commit(handle)


def counted_of(root: str) -> tuple[pl.DataFrame, dict[str, int]] | None:
    """Return the table's newest rows and the versions that they were counted of; None if empty."""
    uri = table_uri(root, QUALITY.name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            return None
        handle = DeltaTable(uri)
        rows = _rows(handle)
        for commit in handle.history():
            told = json.loads(commit.get("userMetadata") or "{}")
            if isinstance(told, dict) and _OF in told:
                return newest(rows), told[_OF]
    return None

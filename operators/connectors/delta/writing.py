"""Writing: an epoch's rows into a table, as what is added to it or as what changes in it."""

import time
from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    write_deltalake,
)
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from operators.connectors.delta.encoding import Encoded
from operators.connectors.delta.layout import laid_out, takes_files
from operators.connectors.delta.parquet import writer_properties
from operators.connectors.delta.reading import read
from operators.records.tables import BUCKET, Table

# Else each commit looks through the whole log for what is too old: a day of it takes ten times as
# long as the commit. Maintenance does that, and the writer sums up.
_AFTERWARDS: Final = PostCommitHookProperties(
    create_checkpoint=False, cleanup_expired_logs=False
)


def write(
    handle: DeltaTable,
    table: Table,
    rows: pl.DataFrame | Sequence[Encoded],
    columns: pl.Schema,
    properties: CommitProperties,
) -> None:
    """Commit rows to the table as the handle has it; `columns` are the table's.

    Rows that are encoded are added as they are, if the table takes such. Where rows change others,
    the buckets that have any are read, and written anew by the same commit. One that came in
    between and changed them refuses it.
    """
    if not isinstance(rows, pl.DataFrame):
        if takes_files(handle, table):
            _add(handle, table, rows, properties)
            return
        found = [laid_out(each.rows(columns), columns) for each in rows]
        rows = pl.concat([pl.DataFrame(schema=columns), *found])
    parquet = writer_properties(table, rows)
    if table.merging is None or not rows.height:
        write_deltalake(
            handle,
            laid_out(rows, columns),
            mode="append",
            commit_properties=properties,
            post_commithook_properties=_AFTERWARDS,
            writer_properties=parquet,
        )
        return
    touched = sorted(table.merging.bucket_of(rows).unique().to_list())
    where = f"{BUCKET} IN ({', '.join(map(str, touched))})"
    there = read(handle, columns, where)
    merged = table.merging.merged(there, rows)
    write_deltalake(
        handle,
        laid_out(merged, columns),
        mode="overwrite",
        predicate=where,
        commit_properties=properties,
        post_commithook_properties=_AFTERWARDS,
        writer_properties=parquet,
    )


def _add(
    handle: DeltaTable, table: Table, files: Sequence[Encoded], properties: CommitProperties
) -> None:
    """Put files into the table's folder, and add all of them by one commit."""
    store, at = DeltaStorageHandler.from_table(handle._table), int(time.time() * 1000)
    for each in files:
        # Past its stream for PyArrow, which refuses what PyArrow writes to it.
        out: Any = store._handler.open_output_stream(each.path, None)
        out.write(each.data)
        out.close()
    handle.create_write_transaction(
        [
            AddAction(each.path, len(each.data), each.texts, at, True, each.statistics)
            for each in files
        ],
        "append",
        handle.schema(),
        list(table.partition_by),
        commit_properties=properties,
        post_commithook_properties=_AFTERWARDS,
    )
    # Other than `write_deltalake` this leaves the handle as it was.
    handle.update_incremental()

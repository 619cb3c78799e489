"""Writing: an epoch's rows into a table, as what is added to it or as what changes in it."""

from typing import Final

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    WriterProperties,
    write_deltalake,
)

from operators.connectors.delta.layout import laid_out
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
    rows: pl.DataFrame,
    columns: pl.Schema,
    properties: CommitProperties,
    parquet: WriterProperties,
) -> None:
    """Commit rows to the table as the handle has it; `columns` are the table's.

    Where rows change others, the buckets that have any are read, and written anew by the same
    commit. One that came in between and changed them refuses it.
    """
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

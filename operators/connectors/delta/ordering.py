"""Ordering: files that have rows which are near each other in some columns, of what has changed.

Each partition is put in order for itself, so one that nobody has written to is in order still.
Which files it had then is told by a transaction of the table's log, one a partition, whose number
is a hash of their names: these are random, so a partition of the same files is the same, however
the table has come to them. Where that is not told, or of other files, it is put in order again:
behind appends, compaction, deletion and a restore.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from operators.connectors.delta import commits
from operators.connectors.delta.durability import sync_commit
from operators.connectors.delta.maintenance import Rewritten, done
from operators.connectors.delta.parquet import writer_properties
from operators.records.tables import Table

_PREFIX: Final = "partition."
_MARK: Final = "ordered"
_LOOK: Final = 1_000
"""Among how many newest commits its own is looked for: a flow beside makes one a second."""

_Partition = tuple[Any, ...]
_Files = Mapping[_Partition, Sequence[str]]


def z_order(
    root: str, table: Table, columns: Sequence[str], target: int, *, whole: bool = False
) -> Rewritten:
    """Rewrite a table's partitions so that files have rows that are near each other in columns.

    Files are about `target` bytes. Left out are partitions that have been put in this order and
    have the same files still, unless the `whole` table is meant. Raises OwnedError and
    StorageUnavailableError.
    """
    parquet = writer_properties(table)

    def attempt(handle: DeltaTable) -> Rewritten:
        ids = _Ids(columns, target)
        found = _files(handle)
        meant = [
            each for each, files in found.items() if whole or not ids.known(handle, each, files)
        ]
        if not meant:
            return Rewritten(0, 0)
        mark = uuid.uuid4().hex
        rewritten = handle.optimize.z_order(
            list(columns),
            _filters(handle, meant, len(found)),
            target_size=target,
            writer_properties=parquet,
            commit_properties=CommitProperties(custom_metadata=commits.metadata({_MARK: mark})),
        )
        _tell(handle, table, mark, ids)
        return Rewritten(int(rewritten["numFilesRemoved"]), int(rewritten["numFilesAdded"]))

    return done(root, table, attempt)


class _Ids:
    """The transactions that tell of which files partitions were when they were put in an order."""

    def __init__(self, columns: Sequence[str], target: int) -> None:
        self._order = f"zorder:{','.join(columns)}:{target}"

    def of(self, partition: _Partition, files: Iterable[str]) -> Transaction:
        """Return that of a partition of some files."""
        names = "\n".join(sorted(files)).encode()
        number = int.from_bytes(hashlib.sha256(names).digest()[:8], "big") >> 1
        return Transaction(":".join([self._order, *map(str, partition)]), number)

    def known(self, handle: DeltaTable, partition: _Partition, files: Iterable[str]) -> bool:
        """Tell whether it is in the log."""
        own = self.of(partition, files)
        return handle.transaction_version(own.app_id) == own.version


def _files(handle: DeltaTable) -> _Files:
    """Return a table's files by partition."""
    added = pl.DataFrame(handle.get_add_actions(flatten=True))
    keys = [name for name in added.columns if name.startswith(_PREFIX)]
    if not added.height:
        return {}
    found: dict[_Partition, list[str]] = {}
    for path, *partition in added.select("path", *keys).iter_rows():
        found.setdefault(tuple(partition), []).append(path)
    return found


def _filters(
    handle: DeltaTable, meant: Sequence[_Partition], every: int
) -> list[tuple[str, str, Any]] | None:
    """Return what picks partitions, or more where no filter says these alone; None for all."""
    keys = handle.metadata().partition_columns
    if len(meant) == every or not keys or any(None in each for each in meant):
        return None
    return [
        (key, "in", sorted({str(each[place]) for each in meant}))
        for place, key in enumerate(keys)
    ]


def _tell(handle: DeltaTable, table: Table, mark: str, ids: _Ids) -> None:
    """Commit which files each partition is of that the commit with a mark has written.

    By that commit alone: what a flow has added meanwhile is in no order.
    """
    sync_commit(handle)
    version = next(
        (
            commit["version"]
            for commit in handle.history(_LOOK)
            if mark in str(commit.get("userMetadata"))
        ),
        None,
    )
    if version is None:
        return
    before, after = (
        _files(DeltaTable(handle.table_uri, version=each)) for each in (version - 1, version)
    )
    told = []
    for partition, files in after.items():
        new = {*files} - {*before.get(partition, ())}
        if new:
            told.append(ids.of(partition, new))
    try:
        handle.create_write_transaction(
            [],
            "append",
            handle.schema(),
            list(table.partition_by),
            commit_properties=CommitProperties(
                custom_metadata={
                    **commits.metadata({_MARK: mark}),
                    "isBlindAppend": True,
                },
                app_transactions=told,
            ),
        )
    except CommitFailedError:
        return  # they are in order all the same, and are put so once more
    handle.update_incremental()

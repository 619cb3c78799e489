"""Maintenance of a table beside its flow: one owner at a time, on disk when it is done.

A flow's fence is in transactions of the table's log, which stay whatever files are rewritten; what
is rewritten here carries none. deltalake 1.6.3 lets the flow's appends and one rewriting pass
each other, and refuses the second of two that rewrite the same files.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.parquet import writer_properties
from operators.connectors.delta.paths import local_folder, table_uri
from operators.connectors.delta.properties import isolated, kept_for
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import KEPT, Table

SHORTEST: Final = timedelta(hours=1)
"""For how long at the least files are kept that are no part of a table any more.

Readers may be at them, and a flow's own files are there before their commit is.
"""

_LOCK: Final = ".maintenance.lock"
_ATTEMPTS: Final = 5
_ATTEMPTS_TO_DELETE: Final = 50

_Result = TypeVar("_Result")


class OwnedError(KnownError):
    """Somebody else is at the table's maintenance."""


@contextlib.contextmanager
def owned(root: str, table: Table) -> Iterator[None]:
    """Be the only one who maintains a table, on this machine, for the length of a block.

    In an object store there is no such lock: two that rewrite the same files are told apart when
    they commit. Raises OwnedError at once.
    """
    folder = local_folder(table_uri(root, table.name))
    if folder is None:
        yield
        return
    with reaching(str(folder)):
        file = os.open(folder / "_delta_log" / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OwnedError(
                f"somebody else is at the maintenance of table {table.name}: wait until that has "
                "ended, or end it"
            ) from None
        yield
    finally:
        os.close(file)


@dataclass(frozen=True)
class Rewritten:
    """How many files have been taken out of a table, and how many put in."""

    removed: int
    added: int


def compact(root: str, table: Table, target: int) -> Rewritten:
    """Put a table's small files together into ones of about `target` bytes.

    Raises OwnedError and StorageUnavailableError.
    """
    properties = writer_properties(table)

    def attempt(handle: DeltaTable) -> Rewritten:
        done = handle.optimize.compact(target_size=target, writer_properties=properties)
        return Rewritten(int(done["numFilesRemoved"]), int(done["numFilesAdded"]))

    return done(root, table, attempt)


def vacuum(root: str, table: Table, keep: timedelta, *, orphans: bool = False) -> list[str]:
    """Delete files that are no part of a table any more for longer than `keep`; return them.

    With `orphans` also those that a crash has left behind, which no commit ever named. Raises
    OwnedError and StorageUnavailableError.
    """
    hours = int(keep / timedelta(hours=1))

    def attempt(handle: DeltaTable) -> list[str]:
        # What takes the place of a file that goes is on disk before it does.
        sync_table(handle)
        return handle.vacuum(
            hours, dry_run=False, enforce_retention_duration=False, full=orphans
        )

    return done(root, table, attempt)


def delete(root: str, table: Table, where: str) -> int:
    """Delete the rows for which a predicate, as SQL, holds; return how many.

    What the table accounts for stays. Rows that a flow adds meanwhile are deleted as well. Raises
    OwnedError and StorageUnavailableError.
    """

    def attempt(handle: DeltaTable) -> int:
        done = handle.delete(where, writer_properties=writer_properties(table))
        return int(done["num_deleted_rows"] or 0)

    # A flow that commits every second gets in between more often than not.
    return done(root, table, attempt, attempts=_ATTEMPTS_TO_DELETE)


def checkpoint(root: str, table: Table, keep: timedelta = KEPT) -> int:
    """Sum a table's log up, so that who opens it reads one file; return the version.

    Commits from before `keep` are deleted, and the table tells all engines so, and how it is
    isolated where it did not yet. Raises OwnedError and StorageUnavailableError.
    """

    def attempt(handle: DeltaTable) -> int:
        told = handle.metadata().configuration
        wanted = kept_for(keep) | isolated(table, told)
        if wanted.items() - told.items():
            handle.alter.set_table_properties(wanted, raise_if_not_exists=False)
        handle.create_checkpoint()
        # What takes the place of commits that go is on disk before they do.
        sync_commit(handle)
        handle.cleanup_metadata()
        return handle.version()

    return done(root, table, attempt)


def done(
    root: str,
    table: Table,
    attempt: Callable[[DeltaTable], _Result],
    attempts: int = _ATTEMPTS,
) -> _Result:
    """Do something to the table as it is now; again, where somebody's commit came in between.

    Raises OwnedError and StorageUnavailableError.
    """
    uri = table_uri(root, table.name)
    with owned(root, table), reaching(uri):
        for number in range(attempts):
            handle = DeltaTable(uri)
            try:
                result = attempt(handle)
            except CommitFailedError:
                if number + 1 == attempts:
                    raise
            else:
                sync_commit(handle)
                return result
    raise AssertionError("unreachable")

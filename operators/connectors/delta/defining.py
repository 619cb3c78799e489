"""Defining: what a flow's tables tell of their next rows, written before the first of them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from operators.connectors.delta.accounts import accounted
from operators.connectors.delta.definitions import (
    PROPERTY,
    History,
    Told,
    begun,
    gone_on,
    history,
    text_of,
)
from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.errors import FencedError, StorageUnavailableError
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table import Fence, open_table, reaching
from operators.event_time.frontier import Frontier
from operators.records.tables import Table

_ATTEMPTS: Final = 5


class RedefinedError(FencedError):
    """A table has rows of another definition, and no row of it may be of two."""

    def __init__(self, changed: Mapping[str, Sequence[str]]) -> None:
        """Take the names of definitions that have changed, by table."""
        what = "; ".join(f"{', '.join(names)} of {table}" for table, names in changed.items())
        super().__init__(what)
        self.changed = {table: tuple(names) for table, names in changed.items()}


def define(
    root: str,
    tables: Iterable[Table],
    fence: Fence,
    reached: Callable[[], Frontier],
    *,
    goes_on: Callable[[], bool],
) -> None:
    """Write into the tables that are there what their next rows are made by.

    Those that are not are made with it. If the flow `goes_on` behind what others have, the rows of
    a new one begin there too. To be called before any row is written, by one process.
    """
    for table in tables:
        if not (table.definitions or table.fixed):
            continue
        uri = table_uri(root, table.name)
        with reaching(uri):
            there = DeltaTable.is_deltatable(uri)
        if there:
            _define(uri, table, fence, reached)
        elif table.fenced == "by offset" and table.definitions and goes_on():
            at = reached()
            told = {
                name: [Told(text, at.offsets, at.watermark)]
                for name, text in table.definitions.items()
            }
            sync_table(open_table(root, table, told | begun(table.fixed)))


def _define(uri: str, table: Table, fence: Fence, reached: Callable[[], Frontier]) -> None:
    def made(handle: DeltaTable) -> History | None:
        lacks = table.columns.keys() - columns_of(handle).keys()
        now = {**table.fixed, **table.definitions}
        names = {name for name in now if name.rpartition(" ")[2] in lacks}
        # What messages are made of does not come twice: those of rows that are there went out.
        own = accounted(handle, table, fence)[0] if table.definitions else None
        return gone_on(history(handle), now, reached, names, own)

    _write(uri, made)


def _write(uri: str, made: Callable[[DeltaTable], History | None]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            with reaching(uri):
                handle = DeltaTable(uri)
                found = made(handle)
                if found is not None:
                    handle.alter.set_table_properties(
                        {PROPERTY: text_of(found)}, raise_if_not_exists=False
                    )
                    sync_commit(handle)
                return
        except StorageUnavailableError as error:
            # Another's commit may have come between, such as a compaction.
            if attempt + 1 == _ATTEMPTS or not isinstance(error.__cause__, CommitFailedError):
                raise


def refuse_redefined(root: str, tables: Iterable[Table]) -> None:
    """Raise RedefinedError for tables with rows of definitions that are `fixed` and others now.

    Also if they were taken away in between.
    """
    changed = {}
    for table in tables:
        uri = table_uri(root, table.name)
        with reaching(uri):
            if not DeltaTable.is_deltatable(uri):
                continue
            handle = DeltaTable(uri)
            told = history(handle) or {}
            names = [
                name
                for name, text in table.fixed.items()
                if any(each.text not in (None, text) for each in told.get(name, ()))
            ]
            if names and handle.file_uris():
                changed[table.name] = names
    if changed:
        raise RedefinedError(changed)


def is_there(root: str, table: Table) -> bool:
    """Tell whether a table is there."""
    uri = table_uri(root, table.name)
    with reaching(uri):
        return bool(DeltaTable.is_deltatable(uri))


def told_by(root: str, table: Table) -> History | None:
    """Return what a table tells, None if it is not there or tells nothing."""
    uri = table_uri(root, table.name)
    with reaching(uri):
        return history(DeltaTable(uri)) if DeltaTable.is_deltatable(uri) else None


def wait_for(root: str, table: Table, timeout: float) -> History:
    """Return what a table tells, once it tells what is defined today; for all but one process.

    That is also what is defined no more. Raises StorageUnavailableError after `timeout` s.
    """
    deadline = time.monotonic() + timeout
    today = {**table.fixed, **table.definitions}
    while True:
        told = told_by(root, table)
        newest = {name: each[-1].text for name, each in (told or {}).items()}
        if told is not None and {n: text for n, text in newest.items() if text} == today:
            return told
        if time.monotonic() > deadline:
            raise StorageUnavailableError(
                f"{table.name}: not brought to today's definitions by the flow's first process "
                f"(-i 0) in {timeout:.0f} s"
            )
        time.sleep(0.1)

"""Switching a table to rows that were made anew elsewhere, by one commit.

Readers see the rows of before or those of after, and the table's earlier version can be restored.
Say a table accounts for offsets up to 90, and what was made anew for those up to 70: all rows are
replaced, and the table then accounts for 70; its flow adds the rest when it starts anew. Of a span
of time only the rows up to 70 are replaced, and the table accounts for 90 as before.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from operators.connectors.delta import commits
from operators.connectors.delta.durability import sync_commit
from operators.connectors.delta.layout import columns_of, laid_out
from operators.connectors.delta.look import Look, look
from operators.connectors.delta.maintenance import owned
from operators.connectors.delta.parquet import writer_properties
from operators.connectors.delta.parts import accounted_for, as_kept, parts_of
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import Table

Span = tuple[datetime, datetime]
"""A time, and the first one behind it."""


class SwitchError(KnownError):
    """A table cannot be switched so that its flow goes on rightly."""


def switch(
    root: str, table: Table, flow: str, other: str, release: str, span: Span | None = None
) -> int:
    """Replace a table's rows by those under another root, of a span of time or all.

    The flow, which must not run meanwhile, has to start with an empty recovery directory then.
    Returns the table's new version. Raises SwitchError where that could not be, OwnedError and
    StorageUnavailableError.
    """
    with owned(root, table):
        mine, its = (_look(each, table, flow) for each in (root, other))
        now, fence = (_fence(each, table, flow) for each in (mine, its))
        _refuse_another_topic(table, flow, now, fence)
        lacking = sorted(now.keys() - fence.keys())
        if span is None and lacking:
            # A transaction cannot be taken back.
            raise SwitchError(
                f"{table.name} under {other} is from before {', '.join(lacking)} came: make it "
                "anew once more"
            )
        handle = mine.handle
        schema = pl.DataFrame(schema=columns_of(handle)).to_arrow().schema
        rows = _rows(table, mine, its, span)
        kept = now if span is not None else fence
        told = {"millstream": release, "flow": flow, "fence": kept, "switched": other}
        try:
            write_deltalake(
                # Through the handle whose fence was read: a commit in between refuses.
                handle,
                pa.RecordBatchReader.from_batches(schema, rows),
                mode="overwrite",
                predicate=None if span is None else _within(table, span),
                commit_properties=CommitProperties(
                    custom_metadata=commits.metadata(told),
                    app_transactions=[Transaction(name, at) for name, at in kept.items()],
                    max_commit_retries=0,
                ),
                writer_properties=writer_properties(table),
            )
        except CommitFailedError as error:
            raise SwitchError(
                f"table {table.name} was written to meanwhile; stop the {flow} flow first"
            ) from error
        with reaching(handle.table_uri):
            sync_commit(handle)
    return int(handle.version())


def _look(root: str, table: Table, flow: str) -> Look:
    found = look(root, table, flow, [])
    if found is None:
        raise SwitchError(f"there is no table {table.name} under {root}")
    return found


def _fence(found: Look, table: Table, flow: str) -> dict[str, int]:
    fence = commits.newest_fence(found.handle, flow)
    if fence is None:
        raise SwitchError(
            f"what {table.name} at {found.handle.table_uri} accounts for is not in its log: only a "
            f"table that the {flow} flow has written can be switched"
        )
    return fence


def _refuse_another_topic(
    table: Table, flow: str, now: Mapping[str, int], fence: Mapping[str, int]
) -> None:
    same = [name for name in now if name == f"{flow}/topics" or name.endswith("/id")]
    if any(name in fence and fence[name] != now[name] for name in same):
        raise SwitchError(
            f"{table.name} was made anew of another topic than that of the rows it would replace"
        )


_TIMES: Final = ("event_date", "event_time", "window_start")


def is_timed(table: Table) -> bool:
    """Tell whether a table's rows are of times, so that those of a span can be switched."""
    return any(name in table.columns for name in _TIMES)


def _time_of(table: Table) -> str:
    """Return the column by which a table's rows are of a span of time."""
    for name in _TIMES:
        if name in table.columns:
            return name
    raise SwitchError(f"rows of {table.name} have no time of an event: switch all of it")


def _within(table: Table, span: Span) -> str:
    name, (first, behind) = _time_of(table), span
    if name == "event_date":
        return f"{name} >= '{first.date()}' AND {name} < '{behind.date()}'"
    return f"{name} >= '{first.isoformat()}' AND {name} < '{behind.isoformat()}'"


def _rows(table: Table, mine: Look, its: Look, span: Span | None) -> Iterator[pa.RecordBatch]:
    """Yield what the table is to have, a source partition of the other's at a time.

    Each is read by a thread of its own: the one that asks is a writer's, in which deltalake cannot
    be called again.
    """
    columns, table = columns_of(mine.handle), as_kept(table, mine.handle)
    within = "" if span is None else _within(table, span)

    def part(found: Look, where: str) -> pl.DataFrame:
        both = " AND ".join(f"({each})" for each in (within, where) if each)
        rows = laid_out(read(found.handle, columns, both), columns)
        if span is None:
            return rows
        if found is its:
            return accounted_for(table, rows, mine.frontier)
        return its.frontier.beyond(table, rows)

    looks = [its] if span is None else [its, mine]
    asked = [(each, where) for each in looks for where in parts_of(table, each.frontier)]
    with ThreadPoolExecutor(1, "switch") as reader:
        for each in asked:
            yield from reader.submit(part, *each).result().to_arrow().to_batches()

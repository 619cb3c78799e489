"""Delta sink: one commit per table and epoch, its rows and its frontier together."""

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from deltalake import CommitProperties, write_deltalake
from deltalake.exceptions import DeltaError

from operators import metrics
from operators.connectors.delta import commits
from operators.connectors.delta.accounts import (
    RETENTION,
    accounted,
    fenced,
    frontiers_of,
    recorded,
    refuse_behind,
    refuse_restored,
    tables_there,
)
from operators.connectors.delta.durability import sync_commit, sync_table
from operators.connectors.delta.errors import (
    FencedError,
    StorageUnavailableError,
    never_fits,
    reason,
)
from operators.connectors.delta.layout import columns_of, laid_out
from operators.connectors.delta.lookup import lacking
from operators.connectors.delta.parquet import writer_properties
from operators.connectors.delta.paths import local_folder
from operators.connectors.delta.table import (
    Fence,
    check_storage,
    open_table,
    reaching,
    table_uri,
    unavailable,
)
from operators.event_time.frontier import Frontier, Tracker
from operators.event_time.holdup import HoldUp, watch
from operators.records.batches import Progress
from operators.records.tables import STAMPS, Table, newest_of

LOG: Final = logging.getLogger("millstream.delta")

TableItem: TypeAlias = pl.DataFrame | Progress

STATE_VERSION: Final = 1
_ATTEMPTS: Final = 6
_REOPEN_AFTER: Final = 50


class _Writer(StatefulSinkPartition[TableItem, dict[str, Any]]):
    """The one writer of a table: buffers an epoch's rows, commits them in `snapshot`."""

    def __init__(self, sink: "DeltaSink", table: Table, state: dict[str, Any] | None) -> None:
        self._sink, self._table = sink, table
        self._parquet = writer_properties(table)
        self._epoch = 1
        self._rows: list[pl.DataFrame] = []
        self._again: list[pl.DataFrame] = []
        self._commit: Future[None] | None = None
        self._reopen()
        with reaching(self._handle.table_uri):
            sync_table(self._handle)
            self._frontier, unrecorded = accounted(self._handle, table, sink.fence)
            refuse_restored(self._handle, table, sink.fence)
        self._tracker = Tracker(sink.partitions)
        if state is not None:
            refuse_behind(table, self._frontier, state["offsets"])
            self._tracker.resume(state["flow"])
        self._began_at = dict(self._tracker.offsets)
        if unrecorded:
            LOG.warning(
                "%s: what it accounts for is gone from its transactions (is its property %s "
                "set?); found in its commits or rows, and written again",
                table.name,
                RETENTION,
            )
            self._append(pl.DataFrame(schema=table.schema), self._frontier)
        self._shown = metrics.TableWritten(table.name)
        # All tables see the same progress: one of them speaks of it, wherever it is written.
        speaks = sink.timed and table.name == sink.list_parts()[0]
        self._hold_up = HoldUp(time.monotonic()) if speaks else None

    def write_batch(self, values: list[TableItem]) -> None:
        for item in values:
            if isinstance(item, Progress):
                self._tracker.observe(item)
                continue
            rows = self._frontier.beyond(self._table, item)
            if rows.height < item.height and self._table.compared:
                self._again.append(item)
                continue
            self._shown.fenced.inc(item.height - rows.height)
            if rows.height:
                self._rows.append(rows)

    @property
    def waits(self) -> bool:
        """Whether there are rows whose commit has not begun."""
        return bool(self._rows or self._again) and self._commit is None

    @property
    def moved(self) -> bool:
        """Whether anything has been read in this epoch."""
        return self._tracker.offsets != self._began_at

    def begin_commit(self, pool: ThreadPoolExecutor) -> None:
        """Start the epoch's commit."""
        self._commit = pool.submit(self._write)

    def _write(self) -> None:
        began = time.perf_counter()
        stamps = {
            "flow_version": pl.lit(self._sink.flow_version),
            "written_at": pl.lit(datetime.now(UTC)).cast(STAMPS["written_at"]),
        }
        again = lacking(self._sink.root, self._table, self._again)
        rows = pl.concat([*self._rows, *again]).with_columns(**stamps)
        if not rows.height:
            return
        self._append(rows, self._frontier.joined(self._tracker.frontier))
        if self._age >= _REOPEN_AFTER:
            self._reopen()
        newest = newest_of(self._table, rows)
        self._shown.committed(began, rows.height, newest, self._frontier.offsets)

    def _append(self, rows: pl.DataFrame, target: Frontier) -> None:
        """Commit rows and the frontier that they bring the table to, on disk on return."""
        properties = self._properties(rows.height, target)
        for attempt in range(_ATTEMPTS):
            try:
                # Through the handle whose fence was read: together an atomic compare-and-set.
                write_deltalake(
                    self._handle,
                    laid_out(rows, self._columns),
                    mode="append",
                    commit_properties=properties,
                    writer_properties=self._parquet,
                )
                break
            except Exception as error:  # deltalake raises plain ones for many storage faults
                # Some come after the commit landed: only the table knows.
                if self._landed(error, target, attempt):
                    break
        sync_commit(self._handle)
        self._frontier = target
        self._age += 1

    def _properties(self, rows: int, target: Frontier) -> CommitProperties:
        fence = self._sink.fence
        told = self._sink.told | {"epoch": self._epoch, "rows": rows}
        return commits.properties(
            told, fence.transactions(target), fence.transactions(self._frontier)
        )

    def _reopen(self) -> None:
        """Take a fresh handle: commits grow slow with a handle's age."""
        self._handle = open_table(self._sink.root, self._table)
        self._columns = columns_of(self._handle)
        self._age = 0

    def _landed(self, error: Exception, target: Frontier, attempt: int) -> bool:
        """Tell from the table's fence whether a failed commit landed; wait where it did not."""
        self._shown.failures.inc()
        name, why = self._table.name, reason(error)
        uri = table_uri(self._sink.root, name)
        LOG.warning("%s: commit failed (attempt %d): %s", name, attempt + 1, why)
        try:
            self._reopen()
            found = recorded(self._handle, self._sink.fence)
        except (DeltaError, OSError, StorageUnavailableError) as again:
            if attempt + 1 == _ATTEMPTS:
                raise unavailable(uri, again) from again
            time.sleep(0.2 * 2**attempt)
            return False
        if found == target:
            return True
        if found != self._frontier:
            raise FencedError(
                f"table {self._table.name} moved from {self._frontier} to {found} under this "
                "flow: another copy of it writes to the same tables. Stop one of them"
            ) from error
        if hopeless := never_fits(name, error):
            raise hopeless from error
        if attempt + 1 == _ATTEMPTS:
            raise unavailable(uri, error) from error
        time.sleep(0.2 * 2**attempt)
        return False

    def snapshot(self) -> dict[str, Any]:
        self._sink.commit_all()
        if self._commit is not None:
            self._commit.result()
            self._commit = None
            self._rows.clear()
            self._again.clear()
        self._epoch += 1
        self._began_at = dict(self._tracker.offsets)
        if self._hold_up is not None:
            watch(self._hold_up, self._tracker.flow, LOG)
        return {
            "version": STATE_VERSION,
            "offsets": [(t, p, offset) for (t, p), offset in self._frontier.offsets.items()],
            "flow": self._tracker.flow.freeze(),
        }


class DeltaSink(FixedPartitionedSink[TableItem, dict[str, Any]]):
    """Appends `(table name, rows)` to tables; `(table name, progress)` moves their frontiers.

    Each table belongs to one worker. `snapshot()` runs once per epoch, after every item of
    it and before the recovery store's commit, so a table is never behind the sources; rows
    that it already accounts for are dropped when a replay brings them again. The tables of a
    worker commit side by side.
    """

    def __init__(
        self,
        root: str,
        tables: Sequence[Table],
        *,
        flow: str,
        flow_version: str,
        partitions: Sequence[tuple[str, int]],
        identities: Mapping[str, str] | None = None,
        unchanged: Callable[[], None] = lambda: None,
        timed: bool = True,
    ) -> None:
        """`partitions` are the source's (topic, partition) pairs, `identities` its topics'.

        `unchanged` is called before an epoch that read anything ends; raises of a topic made anew.
        In a flow that is not `timed` there are no watermarks, and nobody waits for one.
        """
        self.timed = timed
        self.root, self.flow_version = root, flow_version
        self.fence = Fence(flow, partitions, identities)
        self._unchanged = unchanged
        run = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(3)}"
        self.told = {"millstream": flow_version, "flow": flow, "run": run}
        self.partitions = Counter(topic for topic, _ in partitions)
        self._tables = {table.name: table for table in tables}
        self._writers: dict[int, list[_Writer]] = {}
        # Local commits are work for the cores, of which more threads only take from each other;
        # those to an object store mostly wait.
        at_once = 8 if local_folder(root) is None else min(os.cpu_count() or 4, 4)
        self._pool = ThreadPoolExecutor(at_once, "delta-commit")

    def refuse_others(self) -> None:
        """Raise TopicChangedError if a table accounts for other topics than the source's."""
        for _, handle in tables_there(self.root, self._tables.values()):
            self.fence.refuse_others(fenced(handle, self.fence))

    def frontiers(self) -> list[Frontier]:
        """Return what each of the tables that are there accounts for, as storage has it now.

        Raises what `frontiers_of` does.
        """
        check_storage(self.root)
        return frontiers_of(self.root, self._tables.values(), self.fence)

    def list_parts(self) -> list[str]:
        """Return the tables' names."""
        return sorted(self._tables)

    def part_fn(self, item_key: str) -> int:
        """Return the place of a table among the parts, which Bytewax sorts."""
        return self.list_parts().index(item_key)

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSinkPartition[TableItem, dict[str, Any]]:
        """Open a table; raises FencedError if it is behind its recovered state."""
        writer = _Writer(self, self._tables[for_part], resume_state)
        self._writers.setdefault(threading.get_ident(), []).append(writer)
        return writer

    def commit_all(self) -> None:
        """Start the commits of all this worker's tables.

        Bytewax takes the snapshots of a sink's partitions one after the other, when all of
        them have all of the epoch's items. Other workers of this process, which are threads,
        may not be there yet.
        """
        writers = self._writers[threading.get_ident()]
        waiting = [each for each in writers if each.waits]
        # What was read may be in states alone, as payments are that wait for their chargebacks.
        if waiting or writers[0].moved:
            self._unchanged()
        for writer in waiting:
            writer.begin_commit(self._pool)

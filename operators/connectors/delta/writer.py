"""The writer of a table: one commit per epoch, its rows and its frontier together."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final, Protocol, TypeAlias

import polars as pl
from bytewax.outputs import StatefulSinkPartition
from deltalake import CommitProperties
from deltalake.exceptions import DeltaError

from operators import shown
from operators.connectors.delta import commits
from operators.connectors.delta.accounts import (
    RETENTION,
    accounted,
    recorded,
    refuse_behind,
    refuse_restored,
)
from operators.connectors.delta.commits import SLICE
from operators.connectors.delta.durability import sum_up, sync_commit, sync_table
from operators.connectors.delta.errors import (
    FencedError,
    StorageUnavailableError,
    never_fits,
    reason,
)
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.lookup import lacking
from operators.connectors.delta.pending import Pending, Ready
from operators.connectors.delta.table import (
    CHECKPOINT_EVERY,
    Fence,
    open_table,
    reaching,
    table_uri,
    unavailable,
)
from operators.connectors.delta.writing import write
from operators.connectors.observers import OBSERVERS
from operators.connectors.pulse import PULSE
from operators.event_time.frontier import Frontier, Tracker
from operators.event_time.holdup import HoldUp, watch
from operators.records.batches import Progress
from operators.records.tables import Table

LOG: Final = logging.getLogger("millstream.delta")

TableItem: TypeAlias = pl.DataFrame | Progress

STATE_VERSION: Final = 1
_ATTEMPTS: Final = 6


class Owner(Protocol):
    """The sink that a writer is of; `told` goes into each commit.

    Rows are encoded by the threads of one executor, and committed by those of another.
    """

    root: str
    flow_version: str
    fence: Fence
    told: dict[str, str]
    partitions: Mapping[str, int]
    timed: bool
    encoding: Executor
    committing: Executor

    def list_parts(self) -> list[str]:
        """Return the names of all its tables."""
        ...

    def commit_all(self) -> None:
        """Start the commits of all this worker's tables."""
        ...


class Writer(StatefulSinkPartition[TableItem, dict[str, Any]]):
    """The one writer of a table: buffers an epoch's rows, commits them in `snapshot`."""

    def __init__(self, sink: Owner, table: Table, state: dict[str, Any] | None) -> None:
        self._sink, self._table = sink, table
        self._epoch, self._began = 1, time.time()
        self._again: list[pl.DataFrame] = []
        self._commit: Future[None] | None = None
        self._ends = PULSE.ends
        # With its files, as it is read here.
        self._handle = open_table(sink.root, table)
        self._columns, self._knows_files = columns_of(self._handle), True
        self._pending = Pending(table, self._columns, sink.flow_version, sink.encoding)
        self._of_topics = frozenset[str]()
        self._look_topics()
        with reaching(self._handle.table_uri):
            sync_table(self._handle)
            self._frontier, unrecorded = accounted(self._handle, table, sink.fence)
            self._read_at = self._handle.version()
            refuse_restored(self._handle, table, sink.fence)
        self._tracker = Tracker(sink.partitions)
        if state is not None:
            refuse_behind(table, self._frontier, state["offsets"])
            self._tracker.resume(state["flow"])
        self._read_before = dict(self._tracker.offsets)
        if unrecorded:
            LOG.warning(
                "%s: what it accounts for is gone from its transactions (is its property %s "
                "set?); found in its commits or rows, and written again",
                table.name,
                RETENTION,
            )
            self._append(Ready(0, None, []), self._frontier)
        self._shown = shown.TableWritten(table.name)
        # All tables see the same progress: one of them speaks of it, wherever it is written.
        speaks = sink.timed and table.name == sink.list_parts()[0]
        self._hold_up = HoldUp(time.monotonic()) if speaks else None

    def write_batch(self, values: list[TableItem]) -> None:
        """Take rows, and how far partitions have come."""
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
                self._pending.take(rows)
        if self._ends != PULSE.ends:
            # Before tables are asked for their rows, states are written.
            self._ends = PULSE.ends
            self._pending.hurry()

    @property
    def waits(self) -> bool:
        """Whether there are rows whose commit has not begun."""
        return bool(self._pending or self._again) and self._commit is None

    @property
    def moved(self) -> bool:
        """Whether anything has been read in this epoch."""
        return self._tracker.offsets != self._read_before

    def settle(self) -> None:
        """Take note that all of the epoch's items are there."""

    def begin_commit(self) -> None:
        """Start the epoch's commit."""
        self._commit = self._sink.committing.submit(self._write)

    def _write(self) -> None:
        clock, self._began = time.perf_counter(), time.time()
        again = lacking(self._sink.root, self._table, self._again)
        rows = self._pending.ready(again)
        if not rows.height:
            return
        self._append(rows, self._frontier.joined(self._tracker.frontier))
        OBSERVERS.tell(self._table.name, self._handle, rows.height, self._began)
        self._keep_short()
        self._shown.committed(clock, rows.height, rows.newest, self._frontier.offsets)

    def _append(self, rows: Ready, target: Frontier) -> None:
        """Commit rows and the frontier that they bring the table to, on disk on return."""
        properties = self._properties(rows.height, target)
        self._refuse_copies(target)
        for attempt in range(_ATTEMPTS):
            try:
                # Through the handle whose fence was read: together an atomic compare-and-set.
                write(self._handle, self._table, rows.content, self._columns, properties)
                break
            except Exception as error:  # deltalake raises plain ones for many storage faults
                # Some come after the commit landed: only the table knows.
                if self._landed(error, target, attempt):
                    break
        sync_commit(self._handle)
        self._frontier = target
        self._look_topics()

    def _properties(self, rows: int, target: Frontier) -> CommitProperties:
        fence = self._sink.fence
        began = int(self._began * 1000)
        told = self._sink.told | {"epoch": self._epoch, "began": began, "rows": rows}
        return commits.properties(
            told,
            fence.transactions(target),
            fence.transactions(self._frontier),
            self._of_topics,
            blind=self._table.merging is None and not self._again,
        )

    def _reopen(self) -> Frontier:
        """Take a fresh handle; return what the table accounts for by it.

        One that knows files makes each commit as much slower as it knows more: who only adds rows
        needs none.
        """
        files = self._table.merging is not None
        handle = open_table(self._sink.root, self._table, files=files)
        found = recorded(handle, self._sink.fence)
        self._handle, self._columns, self._knows_files = handle, columns_of(handle), files
        self._of_topics = frozenset[str]()
        self._look_topics()
        return found

    def _keep_short(self) -> None:
        """Sum the log up now and then, and go on with a handle that is quick.

        The rows are in the table: nothing that fails here matters before the next commit.
        """
        # As deltalake and Spark reckon, of which one may have the commit that is due.
        due = (self._handle.version() + 1) % CHECKPOINT_EVERY == 0
        try:
            if due:
                sum_up(self._handle.table_uri)
            if self._knows_files and (due or self._table.merging is None):
                found = self._reopen()
                if found != self._frontier:
                    raise self._copied(f"moved from {self._frontier} to {found}")
        except (DeltaError, OSError, StorageUnavailableError) as error:
            LOG.warning("%s: its log is not summed up: %s", self._table.name, reason(error))

    def _look_topics(self) -> None:
        """Leave out of commits, in a slice, what the table has of its topics.

        Two commits with a transaction of one id are in each other's way, and other slices' commits
        would have it as well.
        """
        if SLICE in self._sink.told and not self._of_topics:
            self._of_topics = self._sink.fence.of_topics(self._handle)

    def _refuse_copies(self, target: Frontier) -> None:
        """Refuse to tell a place for the first time that somebody else has told meanwhile.

        Of those that were told before another's commit is in the way.
        """
        new = target.offsets.keys() - self._frontier.offsets.keys()
        if self._handle.version() == self._read_at:
            return
        for id_ in self._sink.fence.offset_ids(new):
            if self._handle.transaction_version(id_) is not None:
                raise self._copied(f"was told {id_}")

    def _copied(self, how: str) -> FencedError:
        return FencedError(
            f"table {self._table.name} {how} under this flow: another copy of it writes to the "
            "same tables. Stop one of them"
        )

    def _landed(self, error: Exception, target: Frontier, attempt: int) -> bool:
        """Tell from the table's fence whether a failed commit landed; wait where it did not."""
        self._shown.failures.inc()
        name = self._table.name
        uri = table_uri(self._sink.root, name)
        LOG.warning("%s: commit failed (attempt %d): %s", name, attempt + 1, reason(error))
        try:
            found = self._reopen()
        except (DeltaError, OSError, StorageUnavailableError) as again:
            if attempt + 1 == _ATTEMPTS:
                raise unavailable(uri, again) from again
            time.sleep(0.2 * 2**attempt)
            return False
        if found == target:
            return True
        if found != self._frontier:
            raise self._copied(f"moved from {self._frontier} to {found}") from error
        if hopeless := never_fits(name, error):
            raise hopeless from error
        if attempt + 1 == _ATTEMPTS:
            raise unavailable(uri, error) from error
        time.sleep(0.2 * 2**attempt)
        return False

    def snapshot(self) -> dict[str, Any]:
        """End the epoch: return the state once its rows are on disk."""
        self._sink.commit_all()
        if self._commit is not None:
            self._commit.result()
            self._commit, self._again = None, []
            self._pending.clear()
        self._epoch += 1
        self._read_before = dict(self._tracker.offsets)
        if self._hold_up is not None:
            watch(self._hold_up, self._tracker.flow, LOG)
        return {
            "version": STATE_VERSION,
            "offsets": [(t, p, offset) for (t, p), offset in self._frontier.offsets.items()],
            "flow": self._tracker.flow.freeze(),
        }

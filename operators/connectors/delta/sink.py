"""Delta sink: one commit per table and epoch, its rows and its frontier together."""

import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from bytewax.outputs import StatefulSinkPartition

from operators.connectors.delta.accounts import fenced, frontiers_of, tables_there
from operators.connectors.delta.commits import SLICE
from operators.connectors.delta.table import Fence, check_storage
from operators.connectors.delta.writer import TableItem, Writer
from operators.connectors.named_sink import NamedSink
from operators.event_time.frontier import Frontier
from operators.records.tables import Table


class DeltaSink(NamedSink[TableItem, dict[str, Any]]):
    """Writes `(table name, rows)` to tables; `(table name, progress)` moves their frontiers.

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
        slice_: str | None = None,
        unchanged: Callable[[], None] = lambda: None,
        writers: Mapping[str, Callable[..., Writer]] | None = None,
        timed: bool = True,
    ) -> None:
        """`partitions` are the source's (topic, partition) pairs, `identities` its topics'.

        Where they are those of one of the flow's slices, `slice_` says which, as 0/3. `unchanged`
        is called before an epoch that read anything ends; raises of a topic made anew. `writers`
        are those of tables that have one of their own, which is given what comes. In a flow that
        is not `timed` there are no watermarks, and nobody waits for one.
        """
        self.timed = timed
        self._own_writers = writers or {}
        super().__init__(table.name for table in tables)
        self.root, self.flow_version = root, flow_version
        self.fence = Fence(flow, partitions, identities)
        self._unchanged = unchanged
        run = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(3)}"
        self.told = {"millstream": flow_version, "flow": flow, "run": run}
        if slice_ is not None:
            self.told[SLICE] = slice_
        self.partitions = Counter(topic for topic, _ in partitions)
        self._tables = {table.name: table for table in tables}
        self._writers: dict[int, list[Writer]] = {}
        # Of what is work for the cores more threads only take from each other. Commits mostly wait,
        # for the disk or an object store.
        self.encoding: Executor = ThreadPoolExecutor(min(os.cpu_count() or 4, 4), "delta-rows")
        self.committing: Executor = ThreadPoolExecutor(8, "delta-commits")

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

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSinkPartition[TableItem, dict[str, Any]]:
        """Open a table; raises FencedError if it is behind its recovered state."""
        make = self._own_writers.get(for_part, Writer)
        writer = make(self, self._tables[for_part], resume_state)
        self._writers.setdefault(threading.get_ident(), []).append(writer)
        return writer

    def commit_all(self) -> None:
        """Start the commits of all this worker's tables.

        Bytewax takes the snapshots of a sink's partitions one after the other, when all of
        them have all of the epoch's items. Other workers of this process, which are threads,
        may not be there yet.
        """
        writers = self._writers[threading.get_ident()]
        for each in writers:
            each.settle()
        waiting = [each for each in writers if each.waits]
        # What was read may be in states alone, as payments are that wait for their chargebacks.
        if waiting or writers[0].moved:
            self._unchanged()
        for writer in waiting:
            writer.begin_commit()

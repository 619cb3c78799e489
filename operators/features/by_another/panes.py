"""Panes: what the events of each key came to in spans of time that do not overlap."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from operators.columns.arrays import Int64s, UInt64s
from operators.columns.grouping import differs, order_by
from operators.features.by_another.closed import Closed, Run
from operators.records.batches import NO_WATERMARK
from operators.state.folds import Ask
from operators.state.shards import Rows, gather, of_shard, span_of_shard

_ROOM: Final = 16_384

START: Final = "start"
VALUE: Final = "value"


class Panes:
    """A row for each key and pane, or for each value that it has there.

    What comes is put aside as it is. When panes close, which is seldom, what is of them is put in
    order, and only of closed ones anything is asked. Rows only ever add up: what comes for a pane
    that has a row is a row of its own until no snapshot tells them apart, so that a snapshot has
    of what changes the change alone.
    """

    def __init__(self, pane: int, folds: Mapping[str, np.ufunc]) -> None:
        """`pane` is its length in µs; `folds` are the columns, and how two rows' values make one.

        With a column VALUE there is a row for each value, and no other column.
        """
        self._pane, self._folds = pane, dict(folds)
        self._apart = VALUE in self._folds
        self._before = NO_WATERMARK
        self._closed = Closed(pane, self._empty(), VALUE if self._apart else None)
        self._open: list[Run] = []
        self._size = self._combined_size = 0
        self._oldest = 2**62

    def _empty(self) -> Run:
        none = np.empty(0, np.int64)
        columns = dict.fromkeys(self._folds, none)
        return Run(np.empty(0, np.uint64), none, np.empty(0, bool), columns)

    def __len__(self) -> int:
        return len(self._closed.run) + self._size

    def add(self, keys: UInt64s, starts: Int64s, columns: Mapping[str, Int64s]) -> None:
        """Take n events by their keys' hashes and the starts of their panes in µs."""
        if len(keys):
            self._put(Run(keys, starts, np.ones(len(keys), bool), dict(columns)))
            if self._size > 2 * self._combined_size + _ROOM:
                self._open = [self._combined(Run.joined(self._open))]
                self._size = self._combined_size = len(self._open[0])

    def _put(self, run: Run) -> None:
        self._open.append(run)
        self._size += len(run)
        self._oldest = min(self._oldest, int(run.starts.min()))

    def forget(self, before: int) -> None:
        """Let go of panes that start before a time in µs, when others are closed."""
        self._before = max(before, self._before)

    def close(self, watermark: int) -> None:
        """Let panes that end at a watermark in µs, or before, be closed."""
        end = watermark // self._pane * self._pane
        if self._oldest >= end:
            return
        rows = Run.joined(self._open)
        over = rows.starts < end
        self._open, self._size, self._oldest = [], 0, 2**62
        if not over.all():
            # What is still open is put in order when it closes, and not before.
            self._put(rows.pick(np.flatnonzero(~over)))
            rows = rows.pick(np.flatnonzero(over))
        self._combined_size = self._size
        self._closed.add(self._combined(rows), self._before)

    def _combined(self, run: Run) -> Run:
        """Return rows by (key, start): one for those of a pane that no snapshot tells apart."""
        panes = run.starts // self._pane
        if self._apart:
            order = order_by(run.keys, panes, run.columns[VALUE].view(np.uint64))
        else:
            order = order_by(run.keys, 2 * panes + run.new)
        run = run.pick(order)
        first = differs(run.keys) | differs(run.starts)
        # A value that is there already brings nothing.
        first |= differs(run.columns[VALUE] if self._apart else run.new.view(np.int8))
        if first.all():
            return run
        at = np.flatnonzero(first)
        made = run.pick(at)
        if not self._apart:
            made.columns = {
                name: fold.reduceat(run.columns[name], at) for name, fold in self._folds.items()
            }
        return made

    def ask(
        self, asks: Sequence[Ask], keys: UInt64s, begin: Int64s, end: Int64s
    ) -> list[Int64s]:
        """Return what is asked of the closed panes of n keys in [begin, end), shape (n,) each.

        All asks are of horizon 0 and none is inclusive.
        """
        return self._closed.ask(asks, keys, begin, end)

    @property
    def _runs(self) -> list[Run]:
        return [self._closed.run, *self._open]

    @property
    def changed(self) -> int:
        """How many rows are new since `settle`."""
        return sum(int(np.count_nonzero(run.new)) for run in self._runs)

    def head(self) -> dict[str, int]:
        """Return what is no row."""
        return {"before": self._before}

    def changes(self) -> dict[str, bytes]:
        """Return the rows that are new since `settle`, as builtins."""
        return self._builtins([run.pick(np.flatnonzero(run.new)) for run in self._runs])

    def shard(self, shard: int) -> dict[str, bytes]:
        """Return all rows of a shard."""
        closed = self._closed.run
        some = [run.pick(np.flatnonzero(of_shard(run.keys, shard))) for run in self._open]
        return self._builtins([closed.cut(span_of_shard(closed.keys, shard)), *some])

    def _builtins(self, runs: Sequence[Run]) -> dict[str, bytes]:
        return {
            "key": b"".join(run.keys.tobytes() for run in runs),
            START: b"".join(run.starts.tobytes() for run in runs),
            **{
                name: b"".join(run.columns[name].tobytes() for run in runs)
                for name in self._folds
            },
        }

    def settle(self) -> None:
        """Let no row count as new."""
        for run in self._runs:
            run.new[:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up rows that were given before."""
        self._before = head["before"]
        columns = dict.fromkeys(self._folds, np.int64)
        rows = gather(found, {"key": np.uint64, START: np.int64, **columns})
        made = {name: rows[name] for name in self._folds}
        run = Run(rows["key"], rows[START], rows["changed"], made)
        # What was forgotten may be in an old entry. All are closed anew.
        kept = run.pick(np.flatnonzero(run.starts >= self._before))
        if len(kept):
            self._put(self._combined(kept))
            self._combined_size = self._size

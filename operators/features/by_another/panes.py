"""Panes: what the events of each key came to in spans of time that do not overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.grouping import Sorted, distinct
from operators.columns.ranges import repeats
from operators.records.batches import NO_WATERMARK
from operators.state.folds import NONE, Answers, Ask, Index, Ranges
from operators.state.shards import Rows, gather, span_of_shard

# The second and the third run are merged into the one before them when they have more rows than
# this, and than that part of it.
_RUN_ROWS = 8_192, 1_024
_RUN_PARTS: Final = 4, 8

START: Final = "start"
VALUE: Final = "value"


@dataclass(slots=True)
class _Run:
    """Rows sorted by (key, start), and by value where values are told apart: parallel arrays."""

    keys: UInt64s
    starts: Int64s
    new: Bools
    columns: dict[str, Int64s]

    def __len__(self) -> int:
        return len(self.keys)

    def pick(self, rows: Indices | slice) -> "_Run":
        columns = {name: each[rows] for name, each in self.columns.items()}
        return _Run(self.keys[rows], self.starts[rows], self.new[rows], columns)

    def of(self, keys: UInt64s) -> tuple[Int64s, Indices]:
        """Return (position in `keys`, position here) of the rows of the sorted `keys`."""
        low = np.searchsorted(self.keys, keys, "left")
        at, step = repeats(np.searchsorted(self.keys, keys, "right") - low)
        return at, low[at] + step


class Panes:
    """A row for each key and pane, or for each value that it has there.

    Rows only ever add up: what comes later for a pane that has a row is a row of its own until
    no snapshot tells them apart. So of what changes the snapshot has the change alone.
    """

    def __init__(self, folds: Mapping[str, np.ufunc]) -> None:
        """`folds` are the columns, and how two rows' values make one; {VALUE: …} tells apart."""
        self._folds = dict(folds)
        self._apart = VALUE in self._folds
        self._before = NO_WATERMARK
        self._runs = [self._empty() for _ in range(1 + len(_RUN_ROWS))]

    def _empty(self) -> _Run:
        none = np.empty(0, np.int64)
        columns = dict.fromkeys(self._folds, none)
        return _Run(np.empty(0, np.uint64), none, np.empty(0, bool), columns)

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: UInt64s, starts: Int64s, columns: Mapping[str, Int64s]) -> None:
        """Take n events by their keys' hashes and the starts of their panes in µs."""
        if len(keys) == 0:
            return
        run = _Run(keys, starts, np.ones(len(keys), bool), dict(columns))
        order = np.argsort(keys, kind="stable")
        runs = self._runs
        runs[-1] = self._merged(runs[-1], self._combined(self._in_order(run.pick(order))))
        for at in range(len(runs) - 1, 0, -1):
            before = len(runs[at - 1])
            if len(runs[at]) > max(_RUN_ROWS[at - 1], before // _RUN_PARTS[at - 1]):
                runs[at - 1] = self._merged(runs[at - 1], runs[at])
                runs[at] = self._empty()

    def forget(self, before: int) -> None:
        """Let go of panes that start before a time in µs, when it is cheap."""
        self._before = max(before, self._before)

    def _merged(self, one: _Run, other: _Run) -> _Run:
        columns = {
            name: np.concatenate((each, other.columns[name]))
            for name, each in one.columns.items()
        }
        both = _Run(
            np.concatenate((one.keys, other.keys)),
            np.concatenate((one.starts, other.starts)),
            np.concatenate((one.new, other.new)),
            columns,
        )
        kept = np.flatnonzero(both.starts >= self._before)
        # Timsort finds that there are two sorted runs of keys, and merges them in one pass.
        order = kept[np.argsort(both.keys[kept], kind="stable")]
        return self._combined(self._in_order(both.pick(order)))

    def _in_order(self, run: _Run) -> _Run:
        """Return rows that are sorted by key sorted by start and value as well."""
        same = run.keys[1:] == run.keys[:-1]
        back = run.starts[1:] < run.starts[:-1]
        if self._apart:
            values = run.columns[VALUE]
            back |= (run.starts[1:] == run.starts[:-1]) & (values[1:] < values[:-1])
        wrong = distinct(run.keys[1:][same & back])
        if len(wrong) == 0:
            return run
        low, high = np.searchsorted(run.keys, wrong), np.searchsorted(run.keys, wrong, "right")
        at, step = repeats(high - low)
        places = low[at] + step
        by = [run.starts[places], run.keys[places]]
        by = [run.columns[VALUE][places], *by] if self._apart else by
        order = np.arange(len(run))
        order[places] = places[np.lexsort(by)]
        return run.pick(order)

    def _combined(self, run: _Run) -> _Run:
        """Return a row for all those of a key and a pane that no snapshot tells apart."""
        if len(run) == 0:
            return run
        first = np.ones(len(run), bool)
        first[1:] = (run.keys[1:] != run.keys[:-1]) | (run.starts[1:] != run.starts[:-1])
        if self._apart:
            # A value that is there already brings nothing.
            first[1:] |= run.columns[VALUE][1:] != run.columns[VALUE][:-1]
        else:
            first[1:] |= run.new[1:] != run.new[:-1]
        if first.all():
            return run
        at = np.flatnonzero(first)
        made = run.pick(at)
        for name, fold in self._folds.items():
            if name != VALUE:
                made.columns[name] = fold.reduceat(run.columns[name], at)
        return made

    def ask(
        self, rows: Sorted, asks: Sequence[Ask], begin: Int64s, end: Int64s
    ) -> list[Int64s]:
        """Return what is asked of each sorted position's panes in [begin, end), shape (n,) each.

        All asks are of horizon 0 and none is inclusive.
        """
        answers, empty = Answers(asks, len(begin)), True
        begin = np.minimum(begin, end)
        for run in self._runs:
            codes, found = run.of(rows.keys)
            if len(codes) == 0:
                continue
            empty = False
            starts = run.starts[found]
            index = Index(codes, starts, rows.runs, end - 1, [begin - 1])
            high = index.at_most(end - 1)
            low = np.minimum(index.at_most(begin - 1), high)
            ranges = Ranges({name: each[found] for name, each in run.columns.items()})
            answers.take(ranges, slice(None), [low], high)
        if empty:
            return [np.full(len(begin), NONE if ask.fold == "max" else 0) for ask in asks]
        return answers.all({})

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
        return self._builtins([run.pick(span_of_shard(run.keys, shard)) for run in self._runs])

    def _builtins(self, runs: Sequence[_Run]) -> dict[str, bytes]:
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
        run = _Run(rows["key"], rows[START], rows["changed"], made)
        # What was forgotten may be in an old entry.
        kept = np.flatnonzero(run.starts >= self._before)
        order = kept[np.argsort(run.keys[kept], kind="stable")]
        whole = self._combined(self._in_order(run.pick(order)))
        self._runs = [whole, *(self._empty() for _ in _RUN_ROWS)]

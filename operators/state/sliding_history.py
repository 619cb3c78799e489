"""Sliding history: for each event, what its key did in the time before it.

Three events of one key at 100, 105 and 112 µs, and one of another key; asked for is how many of
the same key came within 10 µs before each, and what their amounts come to:

>>> asks = [Ask(0, "count"), Ask(0, "sum", "amount")]
>>> history = SlidingHistory([Horizon(10, 10)], asks, ["amount"])
>>> def advance(keys, times, amounts, watermark):
...     rows = Sorted.by(np.array(keys, np.uint64))
...     times, amounts = np.array(times)[rows.order], np.array(amounts)[rows.order]
...     marks = np.full(len(times), watermark)
...     found = history.advance(rows, times, {"amount": amounts}, marks, max(times) - 5)
...     return [column.tolist() for column in found]
>>> advance([7, 7, 8, 7], [100, 105, 105, 112], [1, 20, 300, 4000], NO_WATERMARK)
[[0, 1, 1, 0], [0, 1, 20, 0]]

In the order of the keys: that at 105 finds the one at 100, that at 112 the one at 105 alone. The
next batch finds what came before it wherever that is kept, also an event that comes late, at 106:

>>> advance([7, 7], [114, 106], [50000, 6], 107)
[[2, 2], [4020, 21]]

It does not count for the one at 114, which came before it. What no later event can ask for, as
the watermark is so far beyond it, is dropped when runs are merged:

>>> advance([9], [160], [1], 109), len(history)
([[0], [0]], 1)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.grouping import Sorted, distinct
from operators.columns.ranges import repeats
from operators.columns.sorted_runs import SortedRuns
from operators.records.batches import NO_WATERMARK
from operators.state.earlier_in_batch import earlier_in_batch
from operators.state.folds import Answers, Ask, Index, Ranges
from operators.state.shards import Rows, gather, span_of_shard

# To look into one more run costs a small batch more than to move so many rows.
_LEAST: Final = 1_024

TIME: Final = "time"
"""The column of the events' own times, which is always there; µs."""


def _out_of_order(keys: UInt64s, times: Int64s) -> Indices:
    """Return the positions of the sorted keys whose times do not ascend."""
    back = np.flatnonzero((keys[1:] == keys[:-1]) & (times[1:] < times[:-1]))
    if len(back) == 0:
        return back
    wrong = distinct(keys[back])
    low, high = np.searchsorted(keys, wrong), np.searchsorted(keys, wrong, "right")
    at, step = repeats(high - low)
    return low[at] + step


@dataclass(slots=True)
class _Run:
    """Past events sorted by (key, time): parallel arrays, `columns` in their order."""

    keys: UInt64s
    times: Int64s
    new: Bools
    columns: tuple[Int64s, ...]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def merged(cls, runs: "Sequence[_Run]", horizon: int) -> "_Run":
        """Return runs as one, without the events at or before `horizon`."""
        keys = np.concatenate([run.keys for run in runs])
        arrived = np.concatenate([run.times for run in runs])
        new = np.concatenate([run.new for run in runs])
        kept = np.flatnonzero(arrived > horizon)
        # A stable sort finds that the runs' keys are in order, and merges them.
        order = kept[np.argsort(keys[kept], kind="stable")]
        keys, times = keys[order], arrived[order]
        again = _out_of_order(keys, times)
        if len(again):
            order[again] = order[again[np.lexsort((times[again], keys[again]))]]
            times[again] = arrived[order[again]]
        columns = zip(*(run.columns for run in runs), strict=True)
        made = tuple(np.concatenate(each)[order] for each in columns)
        return cls(keys, times, new[order], made)

    def in_order(self) -> "_Run":
        """Return the events, whose keys are sorted, by (key, time)."""
        again = _out_of_order(self.keys, self.times)
        if len(again) == 0:
            return self
        order = np.arange(len(self))
        order[again] = again[np.lexsort((self.times[again], self.keys[again]))]
        return self.pick(order)

    def pick(self, rows: Indices | slice) -> "_Run":
        """Return the events at some positions, in their order."""
        columns = tuple(column[rows] for column in self.columns)
        return _Run(self.keys[rows], self.times[rows], self.new[rows], columns)

    def of(self, keys: UInt64s) -> tuple[Int64s, Indices]:
        """Return (position in `keys`, position here) of the events of the sorted `keys`."""
        low = np.searchsorted(self.keys, keys, "left")
        size = np.searchsorted(self.keys, keys, "right") - low
        at, step = repeats(size)
        return at, low[at] + step


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far back events count, in µs: before the event, and behind the watermark."""

    before: int
    kept: int


class SlidingHistory:
    """What is asked of each key's earlier events within horizons before an event.

    For an event at time t with its partition's watermark w before it, and a horizon, that is of
    the events of its key that arrived earlier with a time in (t - before, t] and above w - kept:
    exact for any order of arrival, and a function of the partition's records alone, whatever the
    batches. What no later event can ask for is dropped.

    Sorted runs hold the past, so a batch does not pay for all that exists.
    """

    def __init__(
        self, horizons: Sequence[Horizon], asks: Sequence[Ask], columns: Sequence[str]
    ) -> None:
        """`columns` are those that events have beside their time."""
        self._horizons, self._asks = tuple(horizons), tuple(asks)
        self.columns = tuple(columns)
        self.kept = max(each.kept for each in horizons)
        self._after = NO_WATERMARK
        self._runs = SortedRuns(self._merged, least=_LEAST)

    def __len__(self) -> int:
        return len(self._runs)

    def advance(
        self,
        rows: Sorted,
        times: Int64s,
        columns: Mapping[str, Int64s],
        watermarks: Int64s,
        after: int,
    ) -> list[Int64s]:
        """Return what is asked for each sorted position, as `Answers`; then take the events.

        `times`, `columns` and `watermarks` (before each event) are in rows' sorted order,
        shape (n,), µs; `after` is the partition's watermark behind the batch.
        """
        bounds, oldest = [], dict[int, Int64s]()
        for each in self._horizons:
            if each.kept not in oldest:
                oldest[each.kept] = np.where(
                    watermarks == NO_WATERMARK, NO_WATERMARK, watermarks - each.kept
                )
            bounds.append(np.maximum(times - each.before, oldest[each.kept]))
        own = {TIME: times, **columns}
        answers = Answers(self._asks, len(times))
        earlier_in_batch(answers, rows, times, own, bounds)
        for run in self._runs:
            codes, found = run.of(rows.keys)
            if len(codes) == 0:
                continue
            past = run.times[found]
            index = Index(codes, past, rows.runs, times, bounds)
            high = index.at_most(times)
            begins = [np.minimum(index.at_most(low), high) for low in bounds]
            there = zip(self.columns, run.columns, strict=True)
            ranges = Ranges({TIME: past, **{name: column[found] for name, column in there}})
            answers.take(ranges, slice(None), begins, high)
        self._after = after
        kept = tuple(columns[name] for name in self.columns)
        run = _Run(rows.keys[rows.runs], times, np.ones(len(times), bool), kept)
        self._runs.add(run.in_order())
        return answers.all(own)

    def _merged(self, runs: Sequence[_Run]) -> _Run:
        return _Run.merged(runs, self._horizon)

    @property
    def _horizon(self) -> int:
        return NO_WATERMARK if self._after == NO_WATERMARK else self._after - self.kept

    @property
    def changed(self) -> int:
        """How many events are new since `settle`."""
        return sum(int(np.count_nonzero(run.new)) for run in self._runs)

    def head(self) -> dict[str, int]:
        """Return what is no event."""
        return {"after": self._after}

    def changes(self) -> dict[str, bytes]:
        """Return the events that are new since `settle`, as builtins."""
        return self._builtins([run.pick(np.flatnonzero(run.new)) for run in self._runs])

    def shard(self, shard: int) -> dict[str, bytes]:
        """Return all events of a shard."""
        return self._builtins([run.pick(span_of_shard(run.keys, shard)) for run in self._runs])

    def _builtins(self, runs: Sequence[_Run]) -> dict[str, bytes]:
        return {
            "key": b"".join(run.keys.tobytes() for run in runs),
            TIME: b"".join(run.times.tobytes() for run in runs),
            **{
                name: b"".join(run.columns[at].tobytes() for run in runs)
                for at, name in enumerate(self.columns)
            },
        }

    def settle(self) -> None:
        """Let no event count as new."""
        for run in self._runs:
            run.new[:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up events that were given before."""
        self._after = head["after"]
        columns = dict.fromkeys(self.columns, np.int64)
        rows = gather(found, {"key": np.uint64, TIME: np.int64, **columns})
        order = np.lexsort((rows[TIME], rows["key"]))
        run = _Run(
            rows["key"][order],
            rows[TIME][order],
            rows["changed"][order],
            tuple(rows[name][order] for name in self.columns),
        )
        # What was dropped may be in an old entry.
        kept = run.pick(np.flatnonzero(run.times > self._horizon))
        self._runs.replace([kept])

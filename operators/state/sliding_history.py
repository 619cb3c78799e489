"""Sliding history: for each event, what its key did in the time before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from operators.columns.arrays import Bools, Indices, Int64s, UInt64s
from operators.columns.grouping import Sorted, distinct
from operators.records.batches import NO_WATERMARK
from operators.state.shards import Rows, gather, span_of_shard

# The second and the third run are merged into the one before them when they have more rows than
# this, and than that part of it.
_RUN_ROWS = 8_192, 1_024
_RUN_PARTS = 4, 8


def _exclusive(values: Int64s) -> Int64s:
    """Return n + 1 running totals: entry i is the sum of the first i values."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(values)))


def _out_of_order(keys: UInt64s, times: Int64s) -> Indices:
    """Return the positions of the sorted keys whose times do not ascend."""
    back = np.flatnonzero((keys[1:] == keys[:-1]) & (times[1:] < times[:-1]))
    if len(back) == 0:
        return back
    wrong = distinct(keys[back])
    low, high = np.searchsorted(keys, wrong), np.searchsorted(keys, wrong, "right")
    size = high - low
    ends = np.cumsum(size)
    positions: Indices = np.arange(int(ends[-1])) + np.repeat(low - (ends - size), size)
    return positions


@dataclass(slots=True)
class _Run:
    """Past events sorted by (key, time): parallel arrays."""

    keys: UInt64s
    times: Int64s
    amounts: Int64s
    new: Bools

    @classmethod
    def empty(cls) -> Self:
        none = np.empty(0, np.int64)
        return cls(np.empty(0, np.uint64), none, none, np.empty(0, bool))

    def __len__(self) -> int:
        return len(self.keys)

    def merge(self, other: "_Run", horizon: int) -> "_Run":
        """Return both as one sorted run, without the events at or before `horizon`."""
        keys = np.concatenate((self.keys, other.keys))
        arrived = np.concatenate((self.times, other.times))
        amounts = np.concatenate((self.amounts, other.amounts))
        new = np.concatenate((self.new, other.new))
        kept = np.flatnonzero(arrived > horizon)
        # Timsort finds that there are two sorted runs of keys, and merges them in one pass.
        order = kept[np.argsort(keys[kept], kind="stable")]
        keys, times = keys[order], arrived[order]
        again = _out_of_order(keys, times)
        if len(again):
            order[again] = order[again[np.lexsort((times[again], keys[again]))]]
            times[again] = arrived[order[again]]
        return _Run(keys, times, amounts[order], new[order])

    def pick(self, rows: Indices | slice) -> "_Run":
        """Return the events at some positions, in their order."""
        return _Run(self.keys[rows], self.times[rows], self.amounts[rows], self.new[rows])

    def of(self, keys: UInt64s) -> tuple[Int64s, Int64s, Int64s]:
        """Return (position in `keys`, time, amount) of the events of the sorted `keys`."""
        low = np.searchsorted(self.keys, keys, "left")
        size = np.searchsorted(self.keys, keys, "right") - low
        ends = np.cumsum(size)
        rows = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
            low - (ends - size), size
        )
        return np.repeat(np.arange(len(keys)), size), self.times[rows], self.amounts[rows]


class SlidingHistory:
    """Counts and sums of each key's earlier events within horizons before an event.

    For an event at time t with its partition's watermark w before it, and a horizon h, they
    are over the events of its key that arrived earlier with a time in (t - h, t] and above
    w - longest: exact for any order of arrival, and a function of the partition's records
    alone, whatever the batches. What no later event can ask for is dropped.

    Three sorted runs hold the past: each batch is merged into the last, and a run that has
    grown to a part of the one before it is merged into that, so a batch does not pay for all
    that exists.
    """

    def __init__(self, horizons: Sequence[int]) -> None:
        """`horizons` are in µs."""
        self.horizons = tuple(horizons)
        self.longest = max(self.horizons)
        self._after = NO_WATERMARK
        self._runs = [_Run.empty() for _ in range(1 + len(_RUN_ROWS))]

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def advance(
        self, rows: Sorted, times: Int64s, amounts: Int64s, watermarks: Int64s, after: int
    ) -> list[tuple[Int64s, Int64s]]:
        """Return (counts, sums) per horizon for each sorted position; then take the events.

        `times`, `amounts` and `watermarks` (before each event) are in rows' sorted order,
        shape (n,), µs; `after` is the partition's watermark behind the batch.
        """
        oldest = np.where(watermarks == NO_WATERMARK, NO_WATERMARK, watermarks - self.longest)
        bounds = [np.maximum(times - horizon, oldest) for horizon in self.horizons]
        totals = _in_batch(rows, times, amounts, bounds)
        for run in self._runs:
            codes, past, past_amounts = run.of(rows.keys)
            if len(codes) == 0:
                continue
            index = _Index(codes, past, rows.runs, times, bounds)
            sums = _exclusive(past_amounts)
            high = index.at_most(times)
            for (count, total), low in zip(totals, bounds, strict=True):
                begin = np.minimum(index.at_most(low), high)
                count += high - begin
                total += sums[high] - sums[begin]
        self._after = after
        self._take(_Run(rows.keys[rows.runs], times, amounts, np.ones(len(times), bool)))
        return totals

    @property
    def _horizon(self) -> int:
        return NO_WATERMARK if self._after == NO_WATERMARK else self._after - self.longest

    def _take(self, batch: _Run) -> None:
        horizon, runs = self._horizon, self._runs
        runs[-1] = runs[-1].merge(batch, horizon)
        for at in range(len(runs) - 1, 0, -1):
            before = len(runs[at - 1])
            if len(runs[at]) > max(_RUN_ROWS[at - 1], before // _RUN_PARTS[at - 1]):
                runs[at - 1] = runs[at - 1].merge(runs[at], horizon)
                runs[at] = _Run.empty()

    @property
    def changed(self) -> int:
        """How many events are new since `settle`."""
        return sum(int(np.count_nonzero(run.new)) for run in self._runs)

    def head(self) -> dict[str, int]:
        """Return what is no event."""
        return {"after": self._after}

    def changes(self) -> dict[str, bytes]:
        """Return the events that are new since `settle`, as builtins."""
        return _builtins([run.pick(np.flatnonzero(run.new)) for run in self._runs])

    def shard(self, shard: int) -> dict[str, bytes]:
        """Return all events of a shard."""
        return _builtins([run.pick(span_of_shard(run.keys, shard)) for run in self._runs])

    def settle(self) -> None:
        """Let no event count as new."""
        for run in self._runs:
            run.new[:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up events that were given before."""
        self._after = head["after"]
        rows = gather(found, {"key": np.uint64, "time": np.int64, "amount": np.int64})
        order = np.lexsort((rows["time"], rows["key"]))
        run = _Run(*(rows[name][order] for name in ("key", "time", "amount", "changed")))
        # What was dropped may be in an old entry.
        kept = run.pick(np.flatnonzero(run.times > self._horizon))
        self._runs = [kept, *(_Run.empty() for _ in _RUN_ROWS)]


def _builtins(runs: Sequence[_Run]) -> dict[str, bytes]:
    return {
        "key": b"".join(run.keys.tobytes() for run in runs),
        "time": b"".join(run.times.tobytes() for run in runs),
        "amount": b"".join(run.amounts.tobytes() for run in runs),
    }


def _in_batch(
    rows: Sorted, times: Int64s, amounts: Int64s, lows: Sequence[Int64s]
) -> list[tuple[Int64s, Int64s]]:
    """Return (counts, sums) per lower bound over the earlier events of the batch itself."""
    index = _Index(rows.runs, times, rows.runs, times, lows)
    sums = _exclusive(amounts)
    here, first = np.arange(len(times)), rows.starts[rows.runs]
    totals = []
    for low in lows:
        begin = np.minimum(np.maximum(index.at_most(low), first), here)
        totals.append((here - begin, sums[here] - sums[begin]))
    # Where a key's events arrive out of order its run is not sorted by time, and the search
    # above does not hold for that key.
    backwards = np.flatnonzero((rows.runs[1:] == rows.runs[:-1]) & (times[1:] < times[:-1]))
    if len(backwards):
        disordered = np.zeros(len(rows.starts), bool)
        disordered[rows.runs[backwards]] = True
        at = np.flatnonzero(disordered[rows.runs])
        again = _disordered(rows.runs[at], times[at], amounts[at], [low[at] for low in lows])
        for (count, total), (true_count, true_total) in zip(totals, again, strict=True):
            count[at], total[at] = true_count, true_total
    return totals


def _disordered(
    runs: Indices, times: Int64s, amounts: Int64s, lows: Sequence[Int64s]
) -> list[tuple[Int64s, Int64s]]:
    """Do the same for any order of times, in O(n log² n).

    As in a merge sort: at each level every right half of a block looks up what its left half
    holds, and over all levels each event meets each earlier one of its run once.
    """
    n = len(times)
    here, ranks = np.arange(n), distinct(times)
    bits = len(ranks).bit_length() + 1
    high_rank = np.searchsorted(ranks, times, "right")
    low_ranks = [np.searchsorted(ranks, low, "right") for low in lows]
    totals = [(np.zeros(n, np.int64), np.zeros(n, np.int64)) for _ in lows]
    size = 1
    while size < n:
        block = here // (2 * size)
        new = (block[1:] != block[:-1]) | (runs[1:] != runs[:-1])
        base = np.concatenate((np.zeros(1, np.int64), np.cumsum(new))) << bits
        right = (here // size) % 2 == 1
        left = np.flatnonzero(~right)
        left = left[np.argsort((base + high_rank)[left])]
        keys, sums = (base + high_rank)[left], _exclusive(amounts[left])
        high = np.searchsorted(keys, (base + high_rank)[right], "right")
        for (count, total), low_rank in zip(totals, low_ranks, strict=True):
            begin = np.minimum(np.searchsorted(keys, (base + low_rank)[right], "right"), high)
            count[right] += high - begin
            total[right] += sums[high] - sums[begin]
        size *= 2
    return totals


class _Index:
    """Finds positions in events sorted by (run, time), by one search on a joined key."""

    def __init__(
        self, codes: Int64s, times: Int64s, runs: Indices, asked: Int64s, lows: Sequence[Int64s]
    ) -> None:
        self._runs = runs
        # Run and time share 63 bits, times counted from the first one asked for. Where they
        # span too long for that, their ranks take their place.
        base = min(int(low.min()) for low in lows)
        base = max(base, int(times.min()) - 1)
        span = max(int(asked.max()), int(times.max())) - base
        self._bits = max(span.bit_length(), 1)
        self._base = base
        self._ranks: Int64s | None = None
        if self._bits + int(runs[-1] + 1).bit_length() > 62:
            self._ranks = distinct(times)
            self._bits = max(len(self._ranks).bit_length(), 1)
        self._joined = self._join(codes, times)

    def _join(self, codes: Int64s, times: Int64s) -> Int64s:
        if self._ranks is not None:
            local = np.searchsorted(self._ranks, times, "right")
        else:
            # As np.clip does, which costs a few µs more of finding out about its types.
            local = np.minimum(np.maximum(times - self._base, 0), (1 << self._bits) - 1)
        return (codes << self._bits) + local

    def at_most(self, times: Int64s) -> Int64s:
        """Return how many events lie before each run's or in it with a time <= `times`."""
        return np.searchsorted(self._joined, self._join(self._runs, times), "right")

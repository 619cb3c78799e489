"""The label log: what is known of events from labels, by key, as of any time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from operators.columns.arrays import Int64s, UInt64s
from operators.columns.grouping import differs, distinct
from operators.features.by_another.label_runs import STANDS, Labels, Run
from operators.records.batches import NO_WATERMARK
from operators.state.folds import NONE, Ask, is_sum
from operators.state.shards import Rows, gather, of_shard

_FEW: Final = 16_384
_SHARE: Final = 8
_ROWS: Final = {"key": np.uint64, "event": np.uint64, "since": np.int64, "place": np.int64}


class LabelLog:
    """Labels of keys, each with the numbers that are asked for, and what is asked of them.

    A label counts from its `since` until the event has a newer one. So what is asked as of a time
    is as it was known then, whatever came to be known after that. Times are those from which
    labels count; only whole seconds are asked for.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """`columns` are numbers of each label."""
        self._columns = tuple(columns)
        self._before = NO_WATERMARK
        self._main, self._recent = Run.of(self._empty()), Run.of(self._empty())
        self._aside: list[Labels] = []
        self._replaced = np.empty(0, np.uint64)

    def _empty(self) -> Labels:
        none, hashes = np.empty(0, np.int64), np.empty(0, np.uint64)
        columns = dict.fromkeys(self._columns, none)
        return Labels(hashes, hashes, none, none, np.empty(0, bool), columns)

    def __len__(self) -> int:
        return sum(map(len, self._all))

    def add(
        self,
        keys: UInt64s,
        events: UInt64s,
        since: Int64s,
        places: Int64s,
        columns: Mapping[str, Int64s],
    ) -> None:
        """Take n labels; none counts since a time that has been asked for already."""
        if len(keys):
            new = np.ones(len(keys), bool)
            self._aside.append(Labels(keys, events, since, places, new, dict(columns)))

    def forget(self, before: int) -> None:
        """Let go of labels that count since before a time in µs, now and then."""
        self._before = max(before, self._before)

    def _index(self) -> None:
        if not self._aside:
            return
        fresh = Run.of(Labels.joined(self._aside))
        self._aside = []
        self._relate(fresh)
        few = max(_FEW, len(self._main.labels) // _SHARE)
        if len(self._recent.labels) + len(fresh.labels) <= few:
            self._recent = Run.merged([self._recent, fresh], self._before)
            return
        self._main = Run.merged([self._main, self._recent, fresh], self._before)
        self._recent = Run.of(self._empty())
        self._replaced = self._main.replaced

    def _kept(self, labels: Labels) -> Labels:
        kept = labels.since >= self._before
        return labels if kept.all() else labels.pick(np.flatnonzero(kept))

    def _relate(self, fresh: Run) -> None:
        """Let the labels of each pair count until the next one of it does."""
        runs = self._main, self._recent, fresh
        known = [run.shared(fresh) for run in runs[:2]]
        pairs = distinct(np.concatenate([*known, fresh.repeated]))
        if not len(pairs):
            return
        rows = [run.rows_of(pairs) for run in runs]
        some = Labels.joined([r.labels.pick(at) for r, at in zip(runs, rows, strict=True)])
        order = np.lexsort((some.places, some.since, some.events, some.keys))
        keys, events, since = some.keys[order], some.events[order], some.since[order]
        last = np.append(differs(keys) | differs(events), True)[1:]
        until = np.empty_like(since)
        until[order] = np.where(last, STANDS, np.append(since[1:], STANDS))
        ends = np.cumsum([len(at) for at in rows[:2]])
        for run, at, mine in zip(runs, rows, np.split(until, ends), strict=True):
            run.until[at] = mine
        replaced = some.keys[until < STANDS]
        self._replaced = distinct(np.concatenate((self._replaced, replaced)))

    def ask(
        self,
        asks: Sequence[Ask],
        keys: UInt64s,
        begins: Sequence[Int64s],
        ends: Sequence[Int64s],
    ) -> list[Int64s]:
        """Return what is asked as of an end of the labels of n keys that count since its begin.

        Shape (n,) each; both are by the asks' horizons. Of a column "sum" and a digit are sums;
        "max" and "min" are the last and the first time of those in which it is not 0, of a min
        turned, NONE where there is none.
        """
        self._index()
        some = np.zeros(len(keys), bool)
        if len(self._replaced):
            place = np.minimum(np.searchsorted(self._replaced, keys), len(self._replaced) - 1)
            some = self._replaced[place] == keys
        at = np.flatnonzero(some)
        found: list[Int64s] = []
        for run in (self._main, self._recent):
            if not len(run.labels):
                continue
            ranges = run.ranges(keys, begins, ends)
            parts = run.fold(asks, ranges)
            if len(at):
                for ask, part in zip(asks, parts, strict=True):
                    low, high = ranges[ask.horizon]
                    end = ends[ask.horizon]
                    part[at] = run.fold_each(ask, low[at], high[at], end[at])
            found = (
                [_both(*each) for each in zip(asks, found, parts, strict=True)]
                if found
                else parts
            )
        return found or [np.full(len(keys), 0 if is_sum(a.fold) else NONE) for a in asks]

    @property
    def _all(self) -> list[Labels]:
        return [self._main.labels, self._recent.labels, *self._aside]

    @property
    def changed(self) -> int:
        """How many labels are new since `settle`."""
        return sum(int(np.count_nonzero(each.new)) for each in self._all)

    def head(self) -> dict[str, int]:
        """Return what is no row."""
        return {"before": self._before}

    def changes(self) -> dict[str, bytes]:
        """Return the labels that are new since `settle`, as builtins."""
        return self._builtins([each.pick(np.flatnonzero(each.new)) for each in self._all])

    def shard(self, shard: int) -> dict[str, bytes]:
        """Return all labels of a shard."""
        some = [each.pick(np.flatnonzero(of_shard(each.keys, shard))) for each in self._all]
        return self._builtins([self._kept(each) for each in some])

    def _builtins(self, some: Sequence[Labels]) -> dict[str, bytes]:
        return {
            "key": b"".join(each.keys.tobytes() for each in some),
            "event": b"".join(each.events.tobytes() for each in some),
            "since": b"".join(each.since.tobytes() for each in some),
            "place": b"".join(each.places.tobytes() for each in some),
            **{
                f"of {n}": b"".join(each.columns[n].tobytes() for each in some)
                for n in self._columns
            },
        }

    def settle(self) -> None:
        """Let no label count as new."""
        for each in self._all:
            each.new[:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up labels that were given before."""
        self._before = head["before"]
        rows = gather(found, _ROWS | {f"of {name}": np.int64 for name in self._columns})
        columns = {name: rows[f"of {name}"] for name in self._columns}
        key, event, since, place = (rows[name] for name in _ROWS)
        self._aside = [self._kept(Labels(key, event, since, place, rows["changed"], columns))]


def _both(ask: Ask, one: Int64s, other: Int64s) -> Int64s:
    return one + other if is_sum(ask.fold) else np.maximum(one, other)

"""Interval join: pairs of two streams' rows with one key and times near to each other."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.joins.spec import SETTLED, IntervalJoin, Joined
from operators.records.batches import Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import HASH, INTERNAL, TIME_US
from operators.state.reordering import Reordering
from operators.state.shards import Composite, Sharded
from operators.state.time_log import TimeLog


class OpenIntervals(Composite):
    """The rows of one key group that may still find partners.

    Rows wait until the flow's watermark has passed them; then each meets the other side's
    rows that were passed before or with it, so every pair is found once, however the two
    streams arrived. A row is dropped when nothing that is to come can be in its interval.
    """

    VERSION: ClassVar = 3

    def __init__(self, join: IntervalJoin, partitions: Mapping[str, int]) -> None:
        """`partitions` is the number of partitions of each topic that the flow reads."""
        self._join = join
        topics = join.left.topic, join.right.topic
        self.reordering = Reordering(partitions, topics, join.lateness)
        self._left, self._right = TimeLog(matched=np.bool_), TimeLog()

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What has rows."""
        return {"arrivals": self.reordering, "left": self._left, "right": self._right}

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return len(self.reordering) + len(self._left) + len(self._right)

    def advance(
        self, progress: list[Progress], left: pl.DataFrame | None, right: pl.DataFrame | None
    ) -> Joined:
        """Add keyed rows (`Side.rows`), take the partitions' progress, emit what is settled.

        The rows must not be late by their own partition's watermark.
        """
        late = self.reordering.add(progress, left, right)
        return Joined(self._settle(), late)

    def _settle(self) -> pl.DataFrame | None:
        passed = self.reordering.passed()
        if passed is None:
            return None
        due, (left, right) = passed
        found = []
        if right is not None:
            # Earlier left rows; the new ones find the new right rows below.
            found.append(self._partners_of_right(right))
            _put(self._right, right)
        if left is not None:
            _put(self._left, left)
            found.append(self._partners_of_left(left))
        return self._results(found, due)

    def _partners_of_right(self, rows: pl.DataFrame) -> tuple[Int64s, Int64s]:
        times = rows[TIME_US].to_numpy()
        low = self._left.bound(times - self._join.upper)
        high = self._left.bound(times - self._join.lower, "right")
        places, lefts = self._left.find(rows[HASH].to_numpy(), low, high)
        return lefts, places + self._right.end

    def _partners_of_left(self, rows: pl.DataFrame) -> tuple[Int64s, Int64s]:
        times = rows[TIME_US].to_numpy()
        low = self._right.bound(times + self._join.lower)
        high = self._right.bound(times + self._join.upper, "right")
        places, rights = self._right.find(rows[HASH].to_numpy(), low, high)
        return places + self._left.end - rows.height, rights

    def _results(self, found: list[tuple[Int64s, Int64s]], due: int) -> pl.DataFrame | None:
        lefts = np.concatenate([left for left, _ in found]) if found else np.empty(0, np.int64)
        rights = np.concatenate([right for _, right in found]) if found else lefts
        frames, orders = [], []
        if len(lefts):
            frame, lefts, rights = self._pairs(lefts, rights)
            self._left.set(lefts, matched=True)
            at = np.maximum(
                self._left.column("time")[lefts - self._left.first],
                self._right.column("time")[rights - self._right.first],
            )
            frames.append(_settled(frame, at + 1))
            orders.append((at, lefts, rights))
        reach = max(self._join.upper, 0)
        if self._join.how == "left":
            alone = self._unmatched(due - reach)
            if len(alone):
                at = self._left.column("time")[alone - self._left.first] + reach
                frames.append(_settled(self._alone(alone), at + 1))
                orders.append((at, alone, np.full(len(alone), -1)))
        self._left.forget(due - reach)
        self._right.forget(due + min(self._join.lower, 0))
        rows = sum(frame.height for frame in frames)
        if rows == 0:
            return None
        at, lefts, rights = (np.concatenate(part) for part in zip(*orders, strict=True))
        return pl.concat(frames).select(*self._join.schema)[np.lexsort((rights, lefts, at))]

    def _pairs(self, lefts: Int64s, rights: Int64s) -> tuple[pl.DataFrame, Int64s, Int64s]:
        """Return the pairs' columns, without those whose keys only share a hash."""
        left, right = self._left.payload(lefts), self._right.payload(rights)
        equal = np.ones(len(lefts), bool)
        for ours, theirs in zip(self._join.left.keys, self._join.right.keys, strict=True):
            equal &= (left[ours] == right[theirs]).fill_null(False).to_numpy()
        frame = pl.concat(
            [left.select(*self._join.left.columns), right.select(*self._join.right.columns)],
            how="horizontal",
        )
        if equal.all():
            return frame, lefts, rights
        return frame.filter(pl.Series(equal)), lefts[equal], rights[equal]

    def _unmatched(self, before: int) -> Int64s:
        closing = int(np.searchsorted(self._left.column("time"), before))
        return np.flatnonzero(~self._left.column("matched")[:closing]) + self._left.first

    def _alone(self, lefts: Int64s) -> pl.DataFrame:
        nulls = [pl.lit(None, t).alias(n) for n, t in self._join.right.schema.items()]
        return self._left.payload(lefts).select(*self._join.left.columns, *nulls)


def _put(log: TimeLog, rows: pl.DataFrame) -> None:
    log.append(rows[HASH].to_numpy(), rows[TIME_US].to_numpy(), rows.drop(INTERNAL))


def _settled(frame: pl.DataFrame, at: Int64s) -> pl.DataFrame:
    return frame.with_columns(pl.Series(SETTLED, at).cast(TIME))

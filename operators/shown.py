"""Shown: what the metrics have of a partition that is read, its watermark, and a table."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from operators import metrics

_TIMED: Final[set[str]] = set()


class PartitionRead:
    """What is shown of a partition as it is read."""

    def __init__(self, topic: str, partition: str) -> None:
        self._records = metrics.RECORDS.labels(topic, partition)
        self._bytes = metrics.BYTES.labels(topic, partition)
        self._next = metrics.NEXT_OFFSET.labels(topic, partition)
        self._lag = metrics.offset_lag(topic, partition)
        timed = (metrics.WATERMARK, metrics.WATERMARK_LAG) if topic in _TIMED else ()
        for each in (
            metrics.PARTITION_PAUSED,
            metrics.HISTORY_ROWS,
            metrics.HISTORY_LEFT,
            *timed,
        ):
            each.labels(topic, partition)

    def took(self, values: Sequence[bytes | None]) -> None:
        """Count records, by their values."""
        self._records.inc(len(values))
        self._bytes.inc(sum(map(len, filter(None, values))))

    def stands(self, following: int, behind: int | None) -> None:
        """Show the next offset, and how many are behind it, None if that is not known."""
        self._next.set(following)
        if behind is not None:
            self._lag.set(behind)


class Watermark:
    """What is shown of a partition's watermark: where it is, and how far behind the clock now."""

    def __init__(self, topic: str, partition: int) -> None:
        self._mark = metrics.WATERMARK.labels(topic, partition)
        self._seconds = 0.0
        metrics.WATERMARK_LAG.labels(topic, partition).set_function(self._lag)

    def at(self, seconds: float) -> None:
        """Show it at a time in s since 1970."""
        self._seconds = seconds
        self._mark.set(seconds)

    def _lag(self) -> float:
        return time.time() - self._seconds if self._seconds else 0.0


class TableWritten:
    """What is shown of a table as it is written."""

    def __init__(self, table: str) -> None:
        self.fenced = metrics.FENCED.labels(table)
        self.failures = metrics.COMMIT_FAILURES.labels(table)
        self._rows, self._seconds = (
            metrics.ROWS.labels(table),
            metrics.COMMIT_SECONDS.labels(table),
        )
        self._committed, self._newest = (
            metrics.TABLE_COMMITTED.labels(table),
            metrics.TABLE_NEWEST.labels(table),
        )
        self._reached = 0.0

    def committed(
        self,
        began: float,
        rows: int,
        newest: float | None,
        offsets: Mapping[tuple[str, int], int],
    ) -> None:
        """Show a commit that began at a `time.perf_counter`: its rows, their newest time.

        `offsets` are those that the table accounts for with it.
        """
        self._rows.inc(rows)
        self._seconds.observe(time.perf_counter() - began)
        self._committed.set(time.time())
        self._reached = max(self._reached, newest or 0.0)
        self._newest.set(self._reached)
        for place, offset in offsets.items():
            metrics.FENCE_OFFSET.labels(*place).set(offset)


def expect_tables(tables: Iterable[str], places: Iterable[tuple[str, int]]) -> None:
    """Have what is shown of tables that nothing has been written to yet.

    `places` are the topics' partitions that they are to account for, of which nothing is known.
    """
    for table in tables:
        TableWritten(table)
    for topic, partition in places:
        metrics.FENCE_OFFSET.labels(topic, partition).set(math.nan)


def expect_watermarks(topic: str, partitions: Iterable[int]) -> None:
    """Have it at 0 for how long the flow's watermark waits for a topic's partitions.

    And, once they are read, what is shown of their own, which not every flow has.
    """
    _TIMED.add(topic)
    for partition in partitions:
        for each in (metrics.WATERMARK_HELD, metrics.WATERMARK_WAITS):
            each.labels(topic, partition)

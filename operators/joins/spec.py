"""What joins there are, and what they bring."""

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from operators.records.tables import TIME
from operators.state.event_time_buffer import Side

SETTLED: Final = "settled_at"


def _check(left: Side, right: Side, lateness: int) -> None:
    if lateness < 0:
        raise ValueError("lateness is negative")
    if len(left.by) != len(right.by):
        raise ValueError("both sides need equally many key columns")
    both = set(left.columns) & set(right.columns)
    if both:
        raise ValueError(f"both sides name a column {sorted(both)}")


class _Join:
    left: Side
    right: Side

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of a result with their types."""
        return {**self.left.schema, **self.right.schema, SETTLED: TIME}


@dataclass(frozen=True)
class IntervalJoin(_Join):
    """Pairs of a left and a right row: equal keys, right.time - left.time in [lower, upper] µs.

    Both bounds are inclusive. "inner" gives the pairs; "left" also the left rows without any,
    when their interval is over. A row whose event time plus `lateness` µs is before its own
    partition's watermark is late: it takes no part. Null keys are equal to nothing.

    A result is `settled_at` the first µs behind what decides it: the later of a pair's times,
    the interval's end of a left row alone (but no earlier than its own time). It is emitted
    when the flow's watermark reaches `settled_at` plus `lateness`. Bounds and pairs are those
    of Flink's IntervalJoinOperator and of the SQL interval join; Flink emits a pair at once,
    its time the later one, and drops by the task's watermark what is late, where here the
    record's own partition decides, so that a replay comes to the same.
    """

    left: Side
    right: Side
    lower: int
    upper: int
    how: Literal["inner", "left"] = "inner"
    lateness: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for bounds or columns that make no join."""
        if self.lower > self.upper:
            raise ValueError(f"the lower bound {self.lower} is above the upper {self.upper}")
        _check(self.left, self.right, self.lateness)


@dataclass(frozen=True, slots=True)
class Joined:
    """What one call of `advance` brings, either of it None.

    `rows` are the results, sorted by `settled_at`, then by the left and the right row's
    (time, partition, offset), a left row alone first; `late` are LATE_ROWS of partitions that
    had been idle.
    """

    rows: pl.DataFrame | None
    late: pl.DataFrame | None


@dataclass(frozen=True)
class TemporalJoin(_Join):
    """Rows of `left` with the version of `right` that was valid at their event time.

    A version is valid from its `event_time` (inclusive) until the key's next one; of two with
    the same time the later record counts. Where `deleted` names a Boolean column of `right`,
    a true one ends the key. "left" keeps rows without a version, with nulls. A row is emitted
    when the flow's watermark, over both topics, reaches `settled_at`, the µs behind it, plus
    `lateness` µs: then every version up to it is known, so the answer is a function of the
    data. Late rows and late versions take no part and are recorded.

    The same as Flink SQL's event-time join FOR SYSTEM_TIME AS OF the left row's time. What
    Kafka's compaction deleted nobody can know: rows of before find no version.
    """

    left: Side
    right: Side
    how: Literal["left", "inner"] = "left"
    deleted: str | None = None
    lateness: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for columns that make no join."""
        _check(self.left, self.right, self.lateness)

    @property
    def versions(self) -> Side:
        """The right side, with `_deleted` if there is such a column."""
        if self.deleted is None:
            return self.right
        columns = {**self.right.columns, "_deleted": self.deleted}
        return Side(self.right.topic, self.right.by, columns, self.right.types)

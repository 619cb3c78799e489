"""Assigners: which windows of event time there are, cut into slices.

A slice is a span of event time whose records always share their windows, so a record is
added up once, in its slice, and windows are put together from slices (Krishnamurthy et al.,
"On-the-fly sharing for streamed aggregation", SIGMOD 2006; Traub et al., "Efficient window
aggregation with general stream slicing", EDBT 2019).
"""

from dataclasses import dataclass
from math import gcd

from operators.columns.durations import Duration, micros


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows of `size` that start every `every` from `offset` on, all in µs.

    [start, start + size), aligned to the Unix epoch. With `every` = `size` they tumble.
    """

    size: int
    every: int
    offset: int = 0

    def __post_init__(self) -> None:
        if self.size <= 0 or not 0 < self.every <= self.size:
            raise ValueError("windows need a size > 0 and 0 < every <= size")

    @property
    def tumbles(self) -> bool:
        """Tell whether each time lies in one window only."""
        return self.size == self.every

    @property
    def slice(self) -> int:
        """The length of a slice in µs."""
        return gcd(self.size, self.every)


@dataclass(frozen=True, slots=True)
class Session:
    """Sessions: a key's records less than `gap` µs apart; [first, last + gap).

    They are cut into slices of `step` µs, at most the gap, at whose ends they close.
    """

    gap: int
    step: int

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.gap:
            raise ValueError("sessions need a gap > 0 and 0 < step <= gap")

    @property
    def slice(self) -> int:
        """The length of a slice in µs."""
        return self.step


Assigner = Sliding | Session


def tumbling(size: Duration, *, offset: Duration = 0) -> Sliding:
    """Return windows that follow each other, as in `tumbling("1m")`."""
    return Sliding(micros(size), micros(size), micros(offset))


def sliding(size: Duration, *, every: Duration, offset: Duration = 0) -> Sliding:
    """Return windows that overlap, as in `sliding("1h", every="5m")`."""
    return Sliding(micros(size), micros(every), micros(offset))


def session(gap: Duration, *, step: Duration | None = None) -> Session:
    """Return sessions that end after `gap` without a record, as in `session("30m")`.

    A session is emitted at the first multiple of `step` (by default a sixth of the gap) at or
    after its end: the larger the step, the less work per record.
    """
    length = micros(gap)
    return Session(length, max(length // 6, 1) if step is None else micros(step))

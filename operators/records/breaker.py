"""Breaker: a partition of which most is refused is not read for a while.

After a bad deploy, of a producer or of ours, a topic would be emptied into the quarantine, all of
it to be repaired and sent again. So reading pauses, and a few records tell now and then whether
that is over. With the clock at 0 s:

>>> now = 0
>>> breaker = Breaker(0.5, over=10, clock=lambda: now)
>>> print(*breaker.observe("payments", 0, records=10, refused=9))
payments/0 is paused, as 9 of its last 10 records were refused, more than the 50% of \
MILLSTREAM_MAX_REJECT_RATIO; 100 records in 60 s will tell whether that is over. See why with \
millstream dlq summary, and mend the schema, the contract or the producer
>>> breaker.holds(0), breaker.holds(1)
(True, False)
>>> now = 60
>>> breaker.holds(0), breaker.most(0)
(False, 100)

What those 100 are decides: it is paused for twice as long, or read on.

>>> breaker.took(0, 100); breaker.holds(0)
True
>>> print(*breaker.observe("payments", 0, records=100, refused=0))
payments/0 is read on: 0 of 100 records were refused
>>> breaker.holds(0), breaker.most(0)
(False, None)

Where few records come it would take days until so many were refused. So a run of them pauses as
well, however they come:

>>> breaker = Breaker(0.5, run=5)
>>> breaker.observe("payments", 0, 4, 3, Runs(0, 2, 2))
[]
>>> print(*breaker.observe("payments", 0, 3, 3, Runs(3, 3, 3)))
payments/0 is paused, as 5 records in a row were refused, as many as MILLSTREAM_MAX_REJECT_RUN; \
100 records in 60 s will tell whether that is over. See why with millstream dlq summary, and mend \
the schema, the contract or the producer
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np

from operators.columns.arrays import Int64s
from operators.errors import KnownError

PROBE: Final = 100
"""How many records tell whether a partition can be read again."""
_FIRST_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 600.0


class TooManyRejectsError(KnownError):
    """Most records are being refused, in a run that is to end."""


class Runs(NamedTuple):
    """How many records of a batch were refused in a row: its first ones, at the most, its last."""

    first: int
    most: int
    last: int

    @classmethod
    def of(cls, offsets: Int64s, refused: Int64s) -> Self:
        """Return those of records at offsets, ascending, some of which were refused."""
        if not len(refused):
            return cls(0, 0, 0)
        good = np.flatnonzero(~np.isin(offsets, refused))
        if not len(good):
            return cls(len(offsets), len(offsets), len(offsets))
        ends = np.concatenate([[-1], good, [len(offsets)]])
        between = np.diff(ends) - 1
        return cls(int(between[0]), int(between.max()), int(between[-1]))


@dataclass(slots=True)
class _Partition:
    """What was counted of a partition; of one that is paused, until when, in s, and for how long.

    It is `probed` from then on until what was read to probe it has been judged. `run` is how many
    were refused in a row behind the last good record.
    """

    run: int
    records: int = 0
    refused: int = 0
    until: float | None = None
    seconds: float = _FIRST_SECONDS
    probed: bool = False
    awaited: bool = False


class Breaker:
    """Pauses partitions of a topic of which more than a ratio is refused, or a run of records.

    It decides when records are read, so it can't change a result. Of a process's start nothing is
    paused. Workers of one process, which are threads, may share it.
    """

    def __init__(
        self,
        ratio: float,
        over: int = 1_000,
        *,
        run: int = 0,
        before: Callable[[int, int], int] = lambda _, __: 0,
        ends: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Break when more than `ratio` of at least `over` consecutive records are refused.

        So it does when as many as `run` are in a row, unless that is 0 or the ratio is 1. `before`
        tells of a partition how many in a row were that lie before an offset, which a process
        that has just started has not seen. In a run that `ends` it is the end: nobody waits to
        mend anything meanwhile.
        """
        self._ratio, self._over, self._ends, self._clock = ratio, over, ends, clock
        self._run, self._before = run if ratio < 1 else 0, before
        self._partitions: dict[int, _Partition] = {}
        # `holds` is asked far more often than anything is paused.
        self._paused: set[int] = set()
        self._lock = threading.Lock()

    def observe(
        self,
        topic: str,
        partition: int,
        records: int,
        refused: int,
        runs: Runs = Runs(0, 0, 0),  # noqa: B008 # it never changes
        at: int = 0,
    ) -> list[str]:
        """Count a batch; return what is to be said of the partition if it is paused or read on.

        `at` is the offset of its first record. Raises TooManyRejectsError instead in a run that
        ends, and what `before` does.
        """
        if not records:
            return []
        name = f"{topic}/{partition}"
        with self._lock:
            seen = self._partitions.get(partition)
            if seen is None:
                # Where the first record is good it makes no difference.
                known = self._before(partition, at) if self._run and runs.first else 0
                seen = self._partitions[partition] = _Partition(known)
            longest = max(seen.run + runs.first, runs.most)
            seen.run = seen.run + records if runs.last == records else runs.last
            if seen.until is not None:
                return self._judge(name, partition, seen, records, refused)
            seen.records += records
            seen.refused += refused
            if self._run and longest >= self._run:
                seen.records = seen.refused = 0
                why = f"{longest:,} records in a row were refused, as many as "
                why += "MILLSTREAM_MAX_REJECT_RUN"
                return [self._pause(name, partition, seen, why)]
            if seen.records < self._over:
                return []
            records, refused = seen.records, seen.refused
            seen.records = seen.refused = 0
            if refused <= self._ratio * records:
                return []
            return [self._pause(name, partition, seen, self._most_of(records, refused))]

    def _most_of(self, records: int, refused: int) -> str:
        of = f"{refused:,} of its last {records:,} records were refused, more than the "
        return f"{of}{self._ratio:.0%} of MILLSTREAM_MAX_REJECT_RATIO"

    def _judge(
        self, name: str, partition: int, seen: _Partition, records: int, refused: int
    ) -> list[str]:
        if not seen.awaited:
            # It was read before the pause.
            return []
        seen.probed = seen.awaited = False
        if refused > self._ratio * records:
            seen.seconds = min(2 * seen.seconds, _LONGEST_SECONDS)
            return [self._pause(name, partition, seen, self._most_of(records, refused))]
        self._partitions[partition] = _Partition(seen.run)
        self._paused.discard(partition)
        return [f"{name} is read on: {refused:,} of {records:,} records were refused"]

    def _pause(self, name: str, partition: int, seen: _Partition, why: str) -> str:
        mend = "millstream dlq summary, and mend the schema, the contract or the producer"
        if self._ends:
            raise TooManyRejectsError(
                f"{name}: {why}, in a run that is to end; see why with {mend}, or raise that, and "
                "start again"
            )
        seen.until = self._clock() + seen.seconds
        self._paused.add(partition)
        return (
            f"{name} is paused, as {why}; {PROBE} records in {seen.seconds:.0f} s will tell "
            f"whether that is over. See why with {mend}"
        )

    def holds(self, partition: int) -> bool:
        """Tell whether the partition should not be read now."""
        if partition not in self._paused:
            return False
        with self._lock:
            seen = self._partitions[partition]
            if seen.until is None or self._clock() < seen.until:
                return seen.until is not None
            seen.probed = True
            return seen.awaited

    def most(self, partition: int) -> int | None:
        """Return how many records may be read at once, None where the breaker doesn't say."""
        return PROBE if partition in self._paused else None

    def took(self, partition: int, records: int) -> None:
        """Hear how many records were read."""
        if records and partition in self._paused:
            with self._lock:
                seen = self._partitions[partition]
                seen.awaited = seen.probed

    def paused(self, partition: int) -> bool:
        """Tell whether a partition is paused, or read to probe it."""
        return partition in self._paused

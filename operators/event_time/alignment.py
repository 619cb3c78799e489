"""Alignment: which source partitions wait, so that a skewed replay's state stays bounded."""

import threading
from typing import Final

_NOBODY: Final = 2**63


class Alignment:
    """Holds partitions back that are more than `drift` ahead of the slowest one with a backlog.

    Where partitions are read at different speeds, the records of the fast ones wait in open
    windows until the slow ones catch up: state grows with the skew. As with Flink's
    `withWatermarkAlignment`, a partition that is too far ahead is not read for a while. It
    decides when records are read, so it can't change a result.

    Only partitions that have more to read hold others back: one that has reached its end, is
    silent or was never heard of does not. So the slowest is never held, and nobody waits for
    ever. `drift` and times are in µs; a time may be any that grows with event time, such as
    the last Kafka timestamp read. Workers of one process, which are threads, may share it.
    """

    def __init__(self, drift: int) -> None:
        if drift < 0:
            raise ValueError("a drift is not negative")
        self.drift = drift
        self._times: dict[int, int] = {}
        self._behind: set[int] = set()
        # `held` is asked far more often than anything changes.
        self._slowest = _NOBODY
        self._lock = threading.Lock()

    def observe(self, partition: int, time: int | None, *, backlog: bool) -> None:
        """Note how far a partition has been read, and whether there is more to read now.

        Without a `time` it is where it was.
        """
        with self._lock:
            if time is not None:
                self._times[partition] = max(time, self._times.get(partition, time))
            if backlog and partition in self._times:
                self._behind.add(partition)
            else:
                self._behind.discard(partition)
            self._find_slowest()

    def forget(self, partition: int) -> None:
        """Leave a partition out from now on: it has ended or is read elsewhere."""
        with self._lock:
            self._times.pop(partition, None)
            self._behind.discard(partition)
            self._find_slowest()

    def _find_slowest(self) -> None:
        self._slowest = min((self._times[each] for each in self._behind), default=_NOBODY)

    def held(self, partition: int) -> bool:
        """Tell whether the partition should not be read now."""
        mine = self._times.get(partition)
        return mine is not None and mine - self.drift > self._slowest

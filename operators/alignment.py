"""Alignment: which source partitions wait, so that a skewed replay's state stays bounded."""


class Alignment:
    """Holds partitions back that are more than `drift` ahead of the slowest one with a backlog.

    Where partitions are read at different speeds, the records of the fast ones wait in open
    windows until the slow ones catch up: state grows with the skew. As with Flink's
    `withWatermarkAlignment`, a partition that is too far ahead is not read for a while. It
    decides when records are read, so it can't change a result.

    Only partitions that have more to read hold others back: one that has reached its end, is
    silent or was never heard of does not. So the slowest is never held, and nobody waits for
    ever. `drift` and times are in µs; a time may be any that grows with event time, such as
    the last Kafka timestamp read.
    """

    def __init__(self, drift: int) -> None:
        if drift < 0:
            raise ValueError("a drift is not negative")
        self.drift = drift
        self._times: dict[int, int] = {}
        self._behind: set[int] = set()

    def observe(self, partition: int, time: int, *, backlog: bool) -> None:
        """Note how far a partition has been read, and whether there is more to read now."""
        self._times[partition] = max(time, self._times.get(partition, time))
        if backlog:
            self._behind.add(partition)
        else:
            self._behind.discard(partition)

    def forget(self, partition: int) -> None:
        """Leave a partition out from now on: it has ended or is read elsewhere."""
        self._times.pop(partition, None)
        self._behind.discard(partition)

    def held(self, partition: int) -> bool:
        """Tell whether the partition should not be read now."""
        mine = self._times.get(partition)
        others = [self._times[each] for each in self._behind if each != partition]
        return mine is not None and bool(others) and mine - self.drift > min(others)

"""Reached: how far a flow had come when it ended, as its tables tell it.

Of a partition that slept while the flow's watermark went on, the clock has let go; what it brings
when it wakes is judged by the watermark that the flow had come to by then. A flow that has lost
its state, or has an older one, does not know of that: it would count such a record in a window
that is in the tables without it, whose fence drops the window. So from behind the last offset that
the tables account for, what had closed by their watermark stays closed. That is no more than the
flow had come to with what is before, by which that is judged as it was at first.

    partition 1, read from its beginning    offset 0    offset 1      of the tables: offset 1 and
    event time                              12:00       12:02         the watermark 12:09, as
    closed is                               nothing     nothing       partition 0 had gone on
                                            offset 2
                                            12:03
                                            12:09, so it is late
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK

_CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True)
class Reached:
    """What tables account for: a partition's last offset, inclusive, and a watermark in µs."""

    offset: int
    watermark: int


def reached(frontiers: Iterable[Frontier], topic: str) -> dict[int, Reached]:
    """Return how far tables had come with a topic's partitions, those that are furthest."""
    every = list(frontiers)
    watermark = max((each.watermark for each in every), default=NO_WATERMARK)
    found: dict[int, Reached] = {}
    for frontier in every if watermark != NO_WATERMARK else ():
        for (name, partition), offset in frontier.offsets.items():
            if name == topic and (partition not in found or offset > found[partition].offset):
                found[partition] = Reached(offset, watermark)
    return found


class Closed:
    """What had closed by where a partition is, as `Progress.closed` says it.

    Steps learn of it with a batch and judge all rows of its epoch by it, so what is behind the
    offset that the tables have reached begins in an epoch of its own.
    """

    def __init__(self, state: Mapping[str, Any] | None, reached: Reached | None) -> None:
        """`state` is the partition's, with what had closed by then; `reached` is as of now."""
        self.now: int = (state or {}).get(_CLOSED, NO_WATERMARK)
        self._reached = reached
        self._spoke = False
        self.waits = False
        """Whether what comes next is of the next epoch."""

    @property
    def until(self) -> int | None:
        """The last offset, inclusive, that may be read now; None where all may."""
        return None if self._reached is None else self._reached.offset

    def pass_on(self) -> None:
        """Note that there is nothing more up to `until`."""
        if self._spoke:
            self.waits = True
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._reached is not None:
            self.now = max(self.now, self._reached.watermark)
        self._reached, self.waits = None, False

    def spoke(self) -> None:
        """Note that a batch was handed out in this epoch."""
        self._spoke = True

    def snapshot(self) -> dict[str, Any]:
        """Begin another epoch; return what a state has of it."""
        self._spoke = False
        if self.waits:
            self._go_on()
        # Told again by a resume: the process may end before its first batch.
        return {} if self.now == NO_WATERMARK else {_CLOSED: self.now}

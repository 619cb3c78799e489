"""Reached: how far a flow had come when it ended, as its tables tell it.

Of a partition that slept while the flow's watermark went on, the clock has let go; what it brings
when it wakes is judged by the watermark that the flow had come to by then. A flow that has lost
its state, or has an older one, does not know of that: it would count such a record in a window
that is in the tables without it, whose fence drops the window. So from behind the last offset that
a table accounts for, what had closed by the table's watermark stays closed. That is no more than
the flow had come to with what is before, by which that is judged as it was at first.

    a table accounts for offset 1 of a partition, and for the watermark 12:09: it slept

    offset        0        1        2
    event time    12:00    12:02    12:03
    closed is     -        -        12:09, so it is late

Tables that tell of other offsets are further steps.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK

_CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True)
class Reached:
    """Behind an offset, -1 for all of a partition, the flow had come to a watermark in µs."""

    offset: int
    watermark: int


def reached(
    frontiers: Iterable[Frontier], topic: str, partitions: Iterable[int]
) -> dict[int, tuple[Reached, ...]]:
    """Return by partition what tables tell, by offset; the watermark rises from step to step."""
    every = [each for each in frontiers if each.watermark != NO_WATERMARK]
    found = {}
    for p in partitions:
        steps: list[Reached] = []
        for offset, mark in sorted((f.offsets.get((topic, p), -1), f.watermark) for f in every):
            if steps and mark <= steps[-1].watermark:
                continue
            if steps and offset == steps[-1].offset:
                steps.pop()
            steps.append(Reached(offset, mark))
        found[p] = tuple(steps)
    return found


def closed_at(steps: Iterable[Reached], position: int) -> int:
    """Return the watermark in µs that had been come to before an offset is read."""
    marks = (each.watermark for each in steps if each.offset < position)
    return max(marks, default=NO_WATERMARK)


class Closed:
    """What had closed by where a partition is, as `Progress.closed` says it.

    Steps learn of it with a batch and judge all rows of its epoch by it, so what is behind an
    offset that tables have reached begins in an epoch of its own. So does all that is read where
    there is no state: what only the tables tell has to be durable before they tell of more.
    """

    def __init__(self, state: Mapping[str, Any] | None, steps: Iterable[Reached] = ()) -> None:
        """`state` is the partition's, with what had closed by then; `steps` are as of now."""
        self.now: int = (state or {}).get(_CLOSED, NO_WATERMARK)
        self._steps, self._position = deque(steps), 0
        self._spoke = state is None
        self.waits = False
        """Whether what comes next is of the next epoch."""

    @property
    def until(self) -> int | None:
        """The last offset, inclusive, that may be read now; None where all may."""
        return self._steps[0].offset if self._steps else None

    def pass_on(self, position: int) -> None:
        """Note that the next offset is one behind `until`."""
        self._position = position
        if self._spoke:
            self.waits = True
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.now = max(self.now, closed_at(self._steps, self._position))
        while self._steps and self._steps[0].offset < self._position:
            self._steps.popleft()
        self.waits = False

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

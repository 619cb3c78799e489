"""Pulse: what shows that a process goes on, for a watchdog to look at."""

import threading
from typing import Final

MEETING: Final = "its start"
"""The part of a process that waits for the others to be there."""


class Pulse:
    """Counts, by part of the flow, how often the engine has come to it.

    The engine asks each partition of a source for more all the time, also where there is nothing
    to read or it is held back, and stops only while an epoch ends: until that is written by all
    workers of all processes. So partitions that are asked are the sign that epochs end,
    whatever becomes of event time. What takes long and rightly so says that it gets on.
    """

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._work = 0
        self._meets = False
        self.threads: set[int] = set()
        """The workers that were at it, by `threading.get_ident`."""
        self.settled = False
        """Whether an epoch has ended: all processes have their state then."""
        self.ends = 0
        """How often a partition has said where it stands, as an epoch's end begins."""

    def meets(self) -> None:
        """Note that the process is ready, and waits until all others are."""
        self._meets = True

    def met(self) -> None:
        """Note that the engine builds the flow, which it does when all processes are there."""
        self._meets = False

    def opened(self, partition: str) -> None:
        """Note that a source's partition is there, and will be asked when all state is loaded."""
        self._asked.setdefault(partition, 0)

    def asked(self, partition: str) -> None:
        """Note that a source's partition is asked for more."""
        self._asked[partition] = self._asked.get(partition, 0) + 1
        self.threads.add(threading.get_ident())

    def left(self, partition: str) -> None:
        """Note that a source's partition is read no more."""
        self._asked.pop(partition, None)

    def written(self, table: str) -> None:
        """Note that a table is given something, or has ended an epoch."""
        self._written[table] = self._written.get(table, 0) + 1
        self.threads.add(threading.get_ident())

    def got_on(self) -> None:
        """Note that something which may take long goes on: an answer, one more try."""
        self._work += 1

    def now(self) -> tuple[dict[str, int], int]:
        """Return counts by part, of which each must grow, and that of what has got on.

        Parts are the partitions that are read. A process that has none, or has none any more,
        hears of the others' through its tables. Before the engine has met its other processes there
        is nothing but that.
        """
        if self._meets:
            return {MEETING: 0}, self._work
        return dict(self._asked) or dict(self._written), self._work


PULSE: Final = Pulse()


class Silence:
    """For how long each part has shown nothing, in steps of its own: no clock that jumps.

    A process that was suspended, and all others with it, has lost one step.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._before: tuple[dict[str, int], int] = ({}, 0)
        self._silent: dict[str, float] = {}

    def look(self, step: float) -> dict[str, float]:
        """Return for each part how many s it has been silent, `step` s after the last look."""
        counts, work = self._pulse.now()
        before, worked = self._before
        self._silent = {
            part: self._silent.get(part, 0.0) + step
            if work == worked and before.get(part) == count
            else 0.0
            for part, count in counts.items()
        }
        self._before = counts, work
        return self._silent

"""Bounded runs: where each partition ends, and when the run is over for all of a process."""

from typing import Final

from operators.connectors.shutdown import Shutdown

NEVER: Final = 2**62
"""An offset that no partition reaches."""


class Bounded:
    """One partition in a run that may have an end.

    It is read to `bound`, where it ended as the flow started, or to an end that the broker tells
    of before: of one that is written to without a pause it may never tell. There it rests until
    all partitions of the process are at their ends, and says in every epoch whether more has
    come. Then they end, in a run that `closes_windows` at once and else behind one more epoch:
    floors rise at snapshots, so that lets go of what idle partitions had held up until the end.
    """

    def __init__(
        self, shutdown: Shutdown, name: str, bound: int, *, closes_windows: bool
    ) -> None:
        self._shutdown, self._name, self._bound = shutdown, name, bound
        self.closes_windows = closes_windows
        self.reached = False
        """Whether it is at its end, and read no more."""
        self.more = False
        """Whether something has come behind its end."""
        self._let_go = self._spoken = False
        shutdown.begin(name)

    @property
    def over(self) -> bool:
        """Whether it is to end."""
        if self._shutdown.requested:
            return True
        return self.reached and (
            self._shutdown.all_read if self.closes_windows else self._spoken
        )

    @property
    def closed(self) -> bool:
        """Whether its end is that of all event time."""
        return self.reached and self.closes_windows

    def read(self, position: int, *, to_the_end: bool = False) -> None:
        """Note the next offset to read, and whether the broker has said that there is no more."""
        if self._bound < NEVER and (to_the_end or position >= self._bound):
            self.reached = True
            self._shutdown.end(self._name)

    def snapshot(self) -> None:
        """Note an epoch's end."""
        self._let_go = self.reached and self._shutdown.all_read

    def speak(self) -> None:
        """Note the first batch of an epoch."""
        self._spoken = self._let_go

    def leave(self) -> None:
        """Note that it is read no more, whatever the reason."""
        self._shutdown.end(self._name)

"""Bounded runs: where each partition ends, and when the run is over for all of a process."""

import logging
import math
import time
from typing import Final

from operators.connectors.shutdown import Shutdown

NEVER: Final = 2**62
"""An offset that no partition reaches."""

_LOG: Final = logging.getLogger("millstream.source")


class Bounded:
    """One partition in a run that may have an end.

    It is read to `bound`, where it ended as the flow started, or to an end that the broker tells
    of before: of one that is written to without a pause it may never tell. There it rests until
    all partitions of the process are at their ends, and says in every epoch whether more has
    come. Then they end, in a run that `closes_windows` at once and else behind one more epoch:
    floors rise at snapshots, so that lets go of what idle partitions had held up until the end.

    Where records are held for partitions that have no more to say, those rest on until they are
    idle, as in a flow that does not end: for `patience`, the idle timeout in s, at the most. What
    waits for a partition of which more has come stays for the next run.
    """

    def __init__(
        self,
        shutdown: Shutdown,
        name: str,
        bound: int,
        *,
        closes_windows: bool,
        patience: float = 0.0,
    ) -> None:
        self._shutdown, self._name, self._bound = shutdown, name, bound
        self.closes_windows = closes_windows
        self.reached = False
        """Whether it is at its end, and read no more."""
        self.more = False
        """Whether something has come behind its end."""
        self._let_go = self._spoken = self._silent = False
        self._patience, self._rests = patience, math.inf
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
        """Note the first batch of an epoch: what came of the one before has been worked off."""
        if not self._let_go:
            return
        held = self._shutdown.waiting
        if not held or self._silent:
            # Who said in the epoch before that it is silent has let go of all that it can.
            self._spoken = True
            return
        # Its last records were heard of before this.
        self._rests = min(self._rests, time.monotonic())
        self._silent = time.monotonic() - self._rests > self._patience
        if self._shutdown.tell():
            _LOG.info(
                "%s is read to its end, as all others are; %d records wait for partitions that "
                "have come less far, until these have been silent for %.0f s",
                self._name, held, self._patience,
            )  # fmt: skip

    def leave(self) -> None:
        """Note that it is read no more, whatever the reason."""
        self._shutdown.end(self._name)

"""Drain: end at an epoch's end when asked to, so that nothing has to be replayed."""

import signal
from types import FrameType
from typing import Final

from bytewax.inputs import AbortExecution


class Drain:
    """Set by SIGTERM and the first Ctrl-C; a source stops behind its next snapshot.

    A plain end of the input would close every open window; raising AbortExecution from the
    first call behind a snapshot leaves the state as that snapshot has it.
    """

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT; a second signal acts at once. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.requested = True
        print("Stopping at the end of this epoch; once more to stop at once.", flush=True)

    def stop(self) -> None:
        """End the worker; call where nothing was emitted since the last snapshot."""
        raise AbortExecution


DRAIN: Final = Drain()

"""Shutdown: end when asked to, with all that was read committed, so that nothing is replayed."""

import atexit
import contextlib
import math
import signal
import time
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_AT_ONCE: Final = 0.5
# With what a call to a server takes, and the end of the process, this is within 10 s.
_GRACE: Final = 4.0


class Shutdown:
    """Set by SIGTERM and the first Ctrl-C; each source partition then ends where it is.

    With the last one the epoch ends too: Bytewax takes every snapshot, commits, and returns. It
    is no end of event time: windows close by the watermark alone, and no step of ours may have
    an `on_eof`. Bytewax's AbortExecution will not do: it ends one worker, and any other that
    reads on, or has nothing to read, waits for that one for ever.

    A run that is to end where its topics end does so in the same way, once the last partition
    of this process is there. One that left before the others would be heard of no more, and
    they would wait with their windows for one that may have nothing more to say.
    """

    def __init__(self) -> None:
        self.requested = False
        self._asked = 0.0
        self._reading: set[str] = set()
        self._waiting: dict[str, int] = {}
        self._began = self._told = False

    def begin(self, name: str) -> None:
        """Note a partition that this process reads."""
        self._reading.add(name)
        self._began = True

    def end(self, name: str) -> None:
        """Note that a partition was read to its end, or is read no more."""
        self._reading.discard(name)

    @property
    def all_read(self) -> bool:
        """Whether this process has no more to read."""
        return self._began and not self._reading

    def wait(self, name: str, records: int) -> None:
        """Note how many records of a partition are held until others have come as far."""
        self._waiting[name] = records

    @property
    def waiting(self) -> int:
        """How many records of this process are held."""
        return sum(list(self._waiting.values()))

    def tell(self) -> bool:
        """Tell whether it is to be said, once, that a run's end waits for what is held."""
        told, self._told = self._told, True
        return not told

    @property
    def left(self) -> float:
        """How many seconds waits for a server may still take, endless until the flow is told."""
        if not self.requested:
            return math.inf
        return max(self._asked + _GRACE - time.monotonic(), 0.0)

    def install(self) -> None:
        """Take over SIGTERM and SIGINT; a second one, later, acts at once. Main thread only."""
        for number in _SIGNALS:
            signal.signal(number, self._ask)
        # The interpreter gives signals back before it takes modules down: one that comes then
        # would make a failure of a flow that has ended well.
        atexit.register(_ignore)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and now - self._asked < _AT_ONCE:
            return  # coreutils' timeout, for one, tells the process and then its group
        if self.requested:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.requested, self._asked = True, now
        # Who read this may be gone.
        with contextlib.suppress(OSError):
            print("Stopping when what was read is committed; once more to stop at once.",
                  flush=True)  # fmt: skip


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


SHUTDOWN: Final = Shutdown()

"""Watchdog: a process that stands still says where, and ends, so that a restart goes on."""

import atexit
import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

from flows.told import told
from operators.connectors.pulse import PULSE, Pulse, Silence

STATUS: Final = 75
"""How a process ends that stood still: EX_TEMPFAIL of sysexits.h, "try again".

No other end of a flow has it: 0 is good, 1 the world, 2 settings, 128 and more are signals.
"""

_STEPS: Final = 20
"""How often it looks within the timeout: one long pause, of a suspended machine, is no stall."""

_START: Final = 10
"""By how much longer the first epoch may take, in which peers may still load their state."""

_LONGEST_STEP: Final = 5.0
_STDERR: Final = 2
_SETTING: Final = "MILLSTREAM_STALL_TIMEOUT"
_PROJECT: Final = Path(__file__).parents[1]

_ADVICE: Final = (
    "Start the flow again, all its processes: it goes on exactly where it was. The stacks above "
    f"say where it stood; if that may rightly take so long, raise {_SETTING}"
)


class Watchdog:
    """Looks at a process's pulse from a thread of its own, and ends a process that has none.

    Where no thread of Python's can run any more, as one holds the interpreter and never comes
    back, a timer of the kernel runs down that this thread keeps winding up; see `_Alarm`.
    """

    def __init__(self, timeout: float, epoch: float, pulse: Pulse = PULSE) -> None:
        """`timeout` is in s; within an `epoch`, also in s, the first workers wait for the last."""
        self._pulse, self._timeout, self._limit = pulse, timeout, timeout + epoch
        self._step = min(timeout / _STEPS, _LONGEST_STEP)
        self._silence = Silence(pulse)
        self._alarm = _Alarm(self._limit)
        self._over = threading.Event()
        self._longest = 0.0
        self.share = 0.0
        """How much of the time that ends the process it has stood still for."""

    def start(self) -> None:
        """Begin to look; at a good end it stops by itself."""
        atexit.register(self.stop)
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._alarm.off()

    def stands(self) -> bool:
        """Whether it has stood still for half of the timeout, as others may have for all of it."""
        return self._longest >= self._timeout / 2

    def _run(self) -> None:
        while not self._over.wait(self._step):
            self._alarm.wind()
            silent = self._silence.look(self._step)
            self._longest = max(silent.values(), default=0.0)
            limit = self._limit if self._pulse.settled else self._limit * _START
            self.share = self._longest / limit
            if self._longest >= limit:
                _end(sorted(part for part, for_ in silent.items() if for_ >= limit),
                     self._longest, self._pulse.threads)  # fmt: skip


_watchdog: Watchdog | None = None


def start(timeout: timedelta) -> None:
    """Begin to watch this process; a timeout of 0 never ends it."""
    global _watchdog  # one process, one watchdog
    if timeout:
        _watchdog = Watchdog(timeout.total_seconds(), told().epoch)
        _watchdog.start()


def stands() -> bool:
    """Whether this process stands still, though not yet for as long as would end it."""
    return _watchdog is not None and _watchdog.stands()


def share() -> float:
    """Return how much of the time that ends this process it has stood still for, 0 if none does."""
    return 0.0 if _watchdog is None else _watchdog.share


# --- the end -------------------------------------------------------------------------------


def _end(parts: list[str], seconds: float, workers: set[int]) -> None:
    """Write where each thread is, and what to do; end as a crash does.

    By descriptors alone: who stands still may hold a lock of the log's or of a stream's.
    """
    places = _places(workers)
    try:
        _write(f"millstream: stood still for {seconds:.0f} s; where each thread is:")
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        for line in _kernel_places():
            _write(line)
        _write(f"millstream: {_why(parts, seconds, places)}. {_ADVICE}")
    finally:
        os._exit(STATUS)


def _write(line: str) -> None:
    os.write(_STDERR, f"{line}\n".encode(errors="replace"))


def _why(parts: list[str], seconds: float, places: list[str]) -> str:
    how = told()
    which = f"process {how.process}" if how.addresses else "the flow"
    few = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
    text = f"{which} stood still for {seconds:.0f} s ({few}): no epoch has ended"
    if places:
        return f"{text}. It is in {', '.join(places)}"
    if how.addresses:
        return (
            f"{text}. No step of its own is at work: it waits for another process. See whether "
            "that one was stopped, hangs (its own log says where) or cannot be reached"
        )
    return f"{text}, and no step is at work"


def _places(workers: set[int]) -> list[str]:
    """Return which functions of ours the workers are in, innermost first of each."""
    frames = sys._current_frames()
    return [place for each in sorted(workers) if (place := _place(frames.get(each)))]


def _place(frame: FrameType | None) -> str | None:
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        with contextlib.suppress(ValueError):
            inside = file.relative_to(_PROJECT)
            if inside.parts[0] in ("flows", "operators"):
                return f"{inside}, line {frame.f_lineno}, {frame.f_code.co_qualname}"
        frame = frame.f_back
    return None


def _kernel_places() -> Iterator[str]:
    """Yield where threads wait as the kernel sees them, also those that know no Python."""
    seen: Counter[tuple[str, ...]] = Counter()
    for task in Path("/proc/self/task").glob("*"):
        found = []
        for name in ("comm", "wchan", "syscall"):
            try:
                found.append((task / name).read_text().strip())
            except OSError:
                found.append("?")
        seen[found[0], found[1], found[2].split(" ")[0]] += 1
    for (name, where, call), count in sorted(seen.items()):
        yield f"{count} x {name}: in {where}, system call {call}"


# --- where Python cannot run any more ------------------------------------------------------


class _Alarm:
    """A timer of the kernel's that ends the process unless it is wound up again and again.

    It needs neither a thread of Python's nor the interpreter's lock. Run down it ends nobody yet:
    a process that was suspended, whose timers went on, finds it so and winds it up at once. So
    its signal, the first time, calls the C library's `alarm` with its own number, 14: in 14 s it
    comes again, to end the process. In between `faulthandler`, from a thread that is none of
    Python's, writes the stacks.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` is how long it may go without being wound up."""
        self._seconds = seconds
        library = ctypes.CDLL(None)
        # That of System V: the handler is called once, and then the signal is as by default.
        self._signal = getattr(library, "sysv_signal", None)
        if self._signal is not None:
            self._signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
            self._signal.restype = ctypes.c_void_p
            self._again = ctypes.cast(library.alarm, ctypes.c_void_p)

    def wind(self) -> None:
        """Wind it up."""
        if self._signal is not None:
            self._signal(signal.SIGALRM, self._again)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            faulthandler.dump_traceback_later(self._seconds + 7, file=_STDERR)

    def off(self) -> None:
        """Let it be."""
        if self._signal is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

"""Failpoints: where a process is killed, by the environment, and what it notes of itself.

CHAOS_POINT     name:count, die by SIGKILL when the named point is passed for the count-th time
CHAOS_NOTES     a file to which one line is added for each thing worth counting
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any


def note(text: str) -> None:
    """Add a line to the notes; one write, so it is whole whatever happens next."""
    if path := os.environ.get("CHAOS_NOTES"):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{text}\n".encode())
        os.close(descriptor)


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def soon() -> None:
    """Be killed from outside within milliseconds, whatever this process does meanwhile."""
    wait = random.uniform(0, 0.015)
    subprocess.Popen(["/bin/sh", "-c", f"sleep {wait:.4f}; kill -9 {os.getpid()}"])


class Point:
    """Kills at the count-th passage of its name."""

    def __init__(self) -> None:
        name, _, count = os.environ.get("CHAOS_POINT", "").rpartition(":")
        self.name, self._left = name, int(count or 0)
        self._lock = threading.Lock()

    def __call__(self, name: str, how: Callable[[], None] = die) -> None:
        if name != self.name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                note(f"point {name}")
                how()


def around(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` makes of a function in its place."""
    setattr(owner, name, make(getattr(owner, name)))


def passed(point: Point, before: str | None, after: str | None = None) -> Callable[[Any], Any]:
    """Return what makes a function pass points before and after it does its work."""

    def make(original: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before:
                point(before)
            done = original(*args, **kwargs)
            if after:
                point(after)
            return done

        return wrapped

    return make

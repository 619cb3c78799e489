"""``python -m tests.stuck module.name ...`` is ``bytewax.run ...``, stuck at a point when told.

The point is a function of ours: a call of it never comes back once there is a file `stuck` in the
folder that the process runs in. With `:held` behind its name the interpreter's lock is kept, so
that no other thread of Python's runs either.
"""

import ctypes
import functools
import runpy
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import flows  # noqa: F401 # sets what must be set before Polars is imported


def stick(held: bool) -> None:
    """Never come back."""
    # Functions of a PyDLL are called with the interpreter's lock; one of zeros is a free mutex.
    mutex, library = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    while held:
        library.pthread_mutex_lock(mutex)
    time.sleep(10_000)


def main() -> None:
    """Put a snare over the function that the first argument names, and run the flow."""
    point, _, how = sys.argv.pop(1).partition(":")
    where, _, name = point.rpartition(".")
    owner = resolve_name(where)
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if Path("stuck").exists():
            stick(how == "held")
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

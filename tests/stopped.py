"""``python -m tests.stopped module.name ...`` is ``bytewax.run ...``, told to end at a point.

The point is a function of ours: behind its first call the process sends itself SIGTERM, or
SIGKILL where `:kill` follows its name.
"""

import functools
import os
import runpy
import signal
import sys
from pkgutil import resolve_name
from typing import Any

import flows  # noqa: F401 # sets what must be set before Polars is imported


def main() -> None:
    """Put the signal behind the function that the first argument names, and run the flow."""
    point, _, how = sys.argv.pop(1).partition(":")
    number = signal.SIGKILL if how == "kill" else signal.SIGTERM
    where, _, name = point.rpartition(".")
    owner = resolve_name(where)
    original, told = getattr(owner, name), False

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal told
        result = original(*args, **kwargs)
        if not told:
            told = True
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, wrapped)
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

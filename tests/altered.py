"""``python -m tests.altered module.NAME=2.0 ...`` is ``bytewax.run ...`` with another constant."""

import runpy
import sys
from pkgutil import resolve_name

import flows  # noqa: F401 # sets what must be set before Polars is imported


def main() -> None:
    """Give the constant that the first argument names its value, a number; run the flow."""
    name, _, value = sys.argv.pop(1).partition("=")
    where, _, constant = name.rpartition(".")
    owner = resolve_name(where)
    if not hasattr(owner, constant):
        raise AttributeError(name)
    setattr(owner, constant, float(value))
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

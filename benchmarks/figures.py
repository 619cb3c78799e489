"""Figures: a benchmark's results on the terminal or as JSON."""

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "millstream",
    "bytewax",
    "confluent-kafka",
    "deltalake",
    "numpy",
    "polars",
    "pyarrow",
    "pyruhvro",
    "redis",
)


def add_benchmark(
    subparsers: Any, name: str, short: str, description: str | None
) -> argparse.ArgumentParser:
    """Add a benchmark with what it does in a line and, laid out as it is, in full."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=short,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that every benchmark has."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def show(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print figures by name: a line each behind one about the machine, or a JSON object."""
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{_processor()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:55}{value:>16,.2f}")


def at_least_one(text: str) -> int:
    """Read an option's number that must be 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def machine() -> dict[str, Any]:
    """Return what the figures depend on of this machine; nothing tells which one it is."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30, 1),
        "system": platform.system(),
    }


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}

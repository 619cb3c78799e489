"""Figures: a benchmark's results on the terminal or as JSON."""

import argparse
import json
import platform
from collections.abc import Mapping
from typing import Any


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that every benchmark has."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def show(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print figures by name: a line each behind one about the machine, or a JSON object."""
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:55}{value:>16,.2f}")

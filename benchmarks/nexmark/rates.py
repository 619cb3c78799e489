"""Nexmark: events per CPU-second of each query."""

import argparse
import time
from typing import Any

from benchmarks.figures import add_json, show
from benchmarks.nexmark.events import Params, activations, events
from benchmarks.nexmark.queries import QUERIES

SIZE = 80_000


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``nexmark``."""
    parser = subparsers.add_parser(
        "nexmark", help="streaming-benchmark queries", description=__doc__
    )
    parser.add_argument("--events", type=int, default=5_000_000, metavar="N")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    show(rates(Params(events=args.events)), args.json)


def rates(params: Params) -> dict[str, Any]:
    """Return each query's events per CPU-second, all events counted."""
    made = list(activations(events(params), params, SIZE))
    found = {}
    for name, query in QUERIES.items():
        run, results = query(params.partitions), 0
        began = time.process_time()
        for batches in made:
            result = run.advance(batches)
            results += 0 if result is None else result.height
        found[f"{name}: events/CPU-s"] = params.events / (time.process_time() - began)
        found[f"{name}: results"] = results
    return found

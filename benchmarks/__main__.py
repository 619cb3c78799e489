"""``python -m benchmarks``: every figure that the README quotes, or those named."""

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.flow import whole_flow
from benchmarks.latency import event_to_alert

Bench = Callable[[argparse.Namespace], dict[str, Any]]


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure: a shared machine makes single runs worthless."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


BENCHES: dict[str, Bench] = {
    "flow": lambda args: _median(
        [whole_flow(args.payments, 20_000, args.epoch) for _ in range(args.runs)]
    ),
    "latency": lambda args: event_to_alert(10_000, 40, 1_000_000),
}


def main() -> None:
    """Run the benchmarks and print a line per figure, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--payments", type=int, default=2_000_000, metavar="N")
    parser.add_argument("--epoch", type=int, default=5, metavar="SECONDS")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    results = {name: BENCHES[name](args) for name in args.names or BENCHES}
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for name, figures in results.items():
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:32}{value:>16,.1f}")


if __name__ == "__main__":
    main()

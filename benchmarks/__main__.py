"""``python -m benchmarks NAME``: the figures that the README quotes, one part at a time."""

import argparse

import flows  # noqa: F401 # one Polars thread, as in a worker
from benchmarks import against, flow, joins, latency, windows
from benchmarks.nexmark import rates


def main() -> None:
    """Run one benchmark and print a line per figure, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(metavar="NAME", required=True)
    for module in (flow, against, latency, windows, joins, rates):
        module.add_parser(commands)
    args = parser.parse_args()
    args.func(args)


if __name__ == "__main__":
    main()

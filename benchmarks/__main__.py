"""``python -m benchmarks NAME``: the figures that docs/benchmarks.md quotes, one part at a time."""

import argparse
import signal
import sys

from benchmarks import (
    against,
    alerts,
    backfill,
    backtest,
    commits,
    dashboards,
    dedup,
    dlq,
    enforce,
    joins,
    latency,
    rejects,
    roofline,
    sizes,
    slices,
    windows,
)
from benchmarks.nexmark import rates
from flows.settings import refuse
from operators.errors import KnownError
from ops.processes import ServerError


def parser() -> argparse.ArgumentParser:
    """Return the parser with every benchmark."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(metavar="NAME", required=True)
    for module in (
        roofline,
        against,
        alerts,
        backfill,
        backtest,
        dashboards,
        latency,
        rejects,
        dedup,
        dlq,
        commits,
        windows,
        joins,
        rates,
        enforce,
        slices,
        sizes,
    ):
        module.add_parser(commands)
    return top


def main() -> None:
    """Run one benchmark and print a line per figure, or JSON."""
    args = parser().parse_args()
    # As Ctrl-C: what was started ends, and what was laid out goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        args.func(args)
    except KeyboardInterrupt:
        sys.exit(130)
    except (KnownError, ServerError) as error:
        refuse(error, 1)


if __name__ == "__main__":
    main()

"""``python -m tests.chaos``: the faults, counted and compared; exit status 0 only if exact."""

import argparse
import json
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.streams import PAYMENTS, STREAMS
from ops.processes import ServerError
from tests.chaos.faults import FAULTS, OF_PAYMENTS
from tests.chaos.world import ChaosError, Result, world
from tests.servers import kafka, redis, s3

_THREE = "broker of three killed"


def main() -> int:
    """Run the bench; returns 0 (all exact), 1 (differences) or 2 (it cannot run here)."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=500, help="kills; other faults in proportion"
    )
    parser.add_argument("--minutes", type=float, help="begin no further fault after this long")
    parser.add_argument(
        "--stream", nargs="+",
        choices=[each.name for each in STREAMS if each.alone and not each.changes],
        default=[PAYMENTS.name], metavar="STREAM", help="whose flow; several after each other",
    )  # fmt: skip
    parser.add_argument("--records", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="faults with this in their name"
    )
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    args = parser.parse_args()
    console = Console(stderr=args.json)
    for reason in (kafka.missing(), redis.missing(), s3.missing()):
        if reason:
            console.print(reason)
            return 2
    with tempfile.TemporaryDirectory(prefix="millstream-chaos-") as temporary:
        folder = args.folder or Path(temporary)
        results = _run(args, folder.absolute(), console)
    if args.json:
        json.dump([result.to_json() for result in results], sys.stdout, indent=2)
        print()
    else:
        console.print(table(results))
    for result in results:
        for problem in result.problems:
            console.print(f"[red]{result.stream}, {result.fault}[/]: ", end="")
            console.print(problem, markup=False, highlight=False)
    return 0 if all(result.ok for result in results) else 1


def _run(args: argparse.Namespace, folder: Path, console: Console) -> list[Result]:
    began = time.monotonic()
    wanted = [
        name for name in FAULTS if not args.only or any(text in name for text in args.only)
    ]
    streams = [each for each in STREAMS if each.name in args.stream]
    results = []
    for brokers in (1, 3):
        names = [name for name in wanted if (name == _THREE) == (brokers == 3)]
        if not names:
            continue
        with world(folder / f"{brokers}-brokers", args.seed, args.records, brokers) as first:
            worlds = [first if s is first.stream else first.of(s) for s in streams]
            for here, name in product(worlds, names):
                if name in OF_PAYMENTS and here.stream is not PAYMENTS:
                    continue
                told = f"{here.stream.name}, {name}"
                if args.minutes and time.monotonic() - began > args.minutes * 60:
                    console.print(f"out of time before: {told}")
                    continue
                fault, full = FAULTS[name]
                result = Result(name, here.stream.name)
                start = time.monotonic()
                try:
                    fault(here, result, max(1, round(full * args.kills / 500)))
                except (ChaosError, ServerError) as error:
                    result.problems.append(str(error))
                result.seconds = time.monotonic() - start
                results.append(result)
                console.print(
                    f"{told}: {result.times} times, {result.runs} runs, {result.rows:,} rows, "
                    f"{result.differences} differences, {result.seconds:.0f} s "
                    f"{dict(result.detail)} {result.said} {'' if result.ok else 'NOT EXACT'}",
                    markup=False, highlight=False,
                )  # fmt: skip
    return results


def table(results: list[Result]) -> Table:
    """Return what is printed."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("stream")
    shown.add_column("fault")
    for name in (
        "times",
        "runs",
        "commits",
        "epochs replayed",
        "rows fenced",
        "rows compared",
        "differences",
    ):
        shown.add_column(name, justify="right")
    for r in results:
        numbers = (r.times, r.runs, r.commits, r.replays, r.fenced, r.rows, r.differences)
        shown.add_row(
            r.stream,
            r.fault if r.ok else f"[red]{r.fault}[/]",
            *(f"{number:,}" for number in numbers),
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())

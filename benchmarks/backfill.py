"""Backfill: records a CPU-second from bronze to silver, by ``millstream backfill``.

A flow reads a topic of simulated records and leaves bronze; then the command makes silver and
duplicates anew of it, as a process of its own with the flow that it runs. CPU time is of both. So
that the start is told apart, a bronze of few records is made anew as well.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import ENVIRON
from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.runs import ROOT, BenchmarkError, Code, own_ends, run_alone
from benchmarks.topics import fill
from flows.streams import PAYMENTS
from ops.local import start_broker

_CARDS: Final = 20_000
_FEW: Final = 1_000
_EPOCH_S: Final = 5


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``backfill``."""
    parser = add_benchmark(
        subparsers, "backfill", "from bronze to silver, records a CPU-second", __doc__
    )
    parser.add_argument("--events", type=at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--runs", type=at_least_one, default=3, metavar="N")
    parser.add_argument(
        "--all", action="store_true", help="all tables, not only silver and duplicates"
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print the figures."""
    only = [] if args.all else ["--silver-alone"]
    figures: dict[str, float] = {}
    with start_broker() as bootstrap:
        took: dict[int, list[tuple[float, float]]] = {}
        for events in (_FEW, args.events):
            topic, count = fill(bootstrap, PAYMENTS, events, _CARDS, topic=f"payments.{events}")
            with own_ends(PAYMENTS, bootstrap, topic) as ends:
                run_alone(Code(), "payments", ends.environ, ends.folder / "flow", _EPOCH_S)
                for number in range(args.runs):
                    folder = ends.folder / f"anew-{number}"
                    took.setdefault(count, []).append(_made_anew(ends.environ, folder, only))
    (few, starts), (count, runs) = took.items()
    start, whole = min(starts), min(runs)
    figures["records"] = count
    figures["start: CPU-seconds"] = start[0]
    figures["CPU-seconds, start included"] = whole[0]
    figures["records a CPU-second, start included"] = count / whole[0]
    figures["records a CPU-second"] = (count - few) / (whole[0] - start[0])
    figures["seconds, start included"] = whole[1]
    show(figures, args.json)


def _made_anew(
    environ: Mapping[str, str], folder: Path, only: list[str]
) -> tuple[float, float]:
    """Run the command; return CPU seconds of it and its flow, and seconds."""
    command = [
        sys.executable, "-m", "ops.cli", "backfill", PAYMENTS.name, "--into",
        str(folder / "tables"), "--state", str(folder / "state"), "--json", *only,
    ]  # fmt: skip
    every = {**ENVIRON, **environ, "BYTEWAX_SNAPSHOT_INTERVAL": str(_EPOCH_S)}
    every |= {"BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0"}
    folder.mkdir()
    began = time.monotonic()
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, env=every, cwd=ROOT, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"the backfill failed: {(folder / 'said').read_text().strip()}")
    return used.ru_utime + used.ru_stime, time.monotonic() - began

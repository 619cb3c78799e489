"""The whole payments flow beside its limit: each of its pieces alone, on the same records.

The limit is the pieces' CPU time together. What the flow takes beyond it is the engine, the
start, and what pieces do to each other. Both run in turns, and medians count: a shared machine
makes single runs worthless. Broker and load generator are outside the count, Redis is a figure
of its own. The figures go to latest.json in a folder, with a picture, roofline.svg.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import picture
from benchmarks.epochs import Epochs
from benchmarks.figures import add_json, at_least_one, machine, show, versions
from benchmarks.latency import latencies
from benchmarks.runs import ROOT, STREAMS, BenchmarkError, Code, Used, own_ends, run_flow
from benchmarks.topics import EMPTY, fill
from ops.local import start_broker

RESULTS: Final = ROOT / "benchmarks" / "results"
_FLOW: Final = "payments"
_CARDS: Final = 20_000
_RATE: Final = 10_000

LEAST: Final = 0.8
"""Of the recorded ratio to the limit: below it `--guard` fails."""


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``roofline``."""
    parser = subparsers.add_parser(
        "roofline",
        help="the whole payments flow beside its pieces alone: CPU, wall rate, memory, latency",
        description=__doc__,
    )
    parser.add_argument("--payments", type=at_least_one, default=4_000_000, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    parser.add_argument(
        "--runs", type=at_least_one, default=3, metavar="N", help="the median counts"
    )
    parser.add_argument(
        "--latency", type=int, default=60, metavar="SECONDS",
        help="how long `latency` runs at the end; 0 leaves it out",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the files go"
    )
    parser.add_argument(
        "--guard", action="store_true",
        help="write no files, and end with 1 where the flow has become slower beside its pieces "
        "than the results have it",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the files, or hold what was measured to them."""
    found = measure(args.payments, args.epoch, args.runs)
    if args.guard:
        recorded = json.loads((args.results / "latest.json").read_text("utf-8"))
        now, was = behind_start(found), behind_start(recorded)
        show({"ratio behind the start": now, "recorded": was, "least": LEAST * was}, args.json)
        if now < LEAST * was:
            sys.exit(
                f"the payments flow comes to {now:.2f} of its pieces' limit, and was recorded with "
                f"{was:.2f}: find what the engine, the steps or their order cost now, or record "
                "it anew with make bench"
            )
        return
    if args.latency:
        took = latencies(_RATE, args.latency, 1_000_000, 10, "alerts", [])
        found["alert_latency_ms"] = {"p50": took["alert_p50_ms"], "p99": took["alert_p99_ms"]}
    found |= {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "versions": versions(),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    whole = 1e6 / found["events_per_cpu_second"]
    (args.results / "latest.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    (args.results / "roofline.svg").write_text(
        picture.roofline(found["pieces"], whole), "utf-8"
    )
    show(found if args.json else flat(found), args.json)


def behind_start(found: Mapping[str, Any]) -> float:
    """Return the ratio to the limit of results without what a start takes, for runs of any size.

    >>> behind_start({"events": 1_000, "events_per_cpu_second": 250,
    ...               "limit_events_per_cpu_second": 1_000, "start_cpu_seconds": 2.0})
    0.5
    """
    took = found["events"] / found["events_per_cpu_second"] - found["start_cpu_seconds"]
    return float(found["events"] / found["limit_events_per_cpu_second"] / took)


def measure(payments: int, epoch: int, runs: int) -> dict[str, Any]:
    """Run the flow and its pieces in turns on one topic; return the medians of their figures."""
    whole: list[Used] = []
    starts: list[Used] = []
    alone: list[dict[str, float]] = []
    epochs = Epochs()
    with start_broker() as bootstrap, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        path = Path(work) / "records.arrow"
        topic, events = fill(bootstrap, STREAMS[_FLOW], payments, _CARDS, path)
        for _ in range(runs):
            starts.append(run_flow(Code(), _FLOW, bootstrap, EMPTY, epoch))
            whole.append(run_flow(Code(), _FLOW, bootstrap, topic, epoch, epochs.look))
            rate = statistics.median(events / each.wall_s for each in whole)
            alone.append(_pieces(bootstrap, topic, path, events, math.ceil(rate * epoch)))
    sums = [sum(each.values()) for each in alone]
    return {
        "events": events,
        "cards": _CARDS,
        "epoch_seconds": epoch,
        "runs": runs,
        "events_per_cpu_second": statistics.median(events / each.cpu_s for each in whole),
        "limit_events_per_cpu_second": statistics.median(events / each for each in sums),
        # Of runs beside each other.
        "ratio_to_limit": statistics.median(
            each / used.cpu_s for each, used in zip(sums, whole, strict=True)
        ),
        # µs of CPU an event.
        "pieces": {
            name: statistics.median(each[name] for each in alone) / events * 1e6
            for name in alone[0]
        },
        "redis_us_per_event": statistics.median(each.redis_s for each in whole) / events * 1e6,
        "events_per_second": statistics.median(events / each.wall_s for each in whole),
        "peak_memory_mb": statistics.median(each.peak_mb for each in whole),
        "start_cpu_seconds": statistics.median(each.cpu_s for each in starts),
        "commit_ms": quantiles(epochs.commits),
        "epoch_ms": quantiles(epochs.epochs),
        "alert_latency_ms": None,
    }


def _pieces(
    bootstrap: str, topic: str, path: Path, events: int, epoch: int
) -> dict[str, float]:
    """Return the CPU seconds of each piece, from a process as a flow's is."""
    with own_ends(STREAMS[_FLOW], bootstrap, topic) as ends:
        command = [
            sys.executable,
            "-m",
            "benchmarks.pieces",
            str(path),
            str(events),
            str(epoch),
        ]
        done = subprocess.run(
            command,
            env={**ends.environ, "PYTHONPATH": str(ROOT)},
            cwd=ends.folder,
            stdout=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(f"the pieces ended with {done.returncode}")
    return dict(json.loads(done.stdout))


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, the value at or above it."""
    ordered = sorted(values)
    return {f"p{q}": ordered[max(math.ceil(len(ordered) * q / 100) - 1, 0)] for q in (50, 99)}


def flat(found: dict[str, Any]) -> dict[str, float]:
    """Return the figures by name for the terminal, without what is no figure."""
    lines: dict[str, float] = {}
    for name, value in found.items():
        if name in ("machine", "versions"):
            continue
        if isinstance(value, dict):
            unit = " (µs an event)" if name == "pieces" else ""
            lines |= {f"{name} {key}{unit}": each for key, each in value.items()}
        elif isinstance(value, int | float):
            lines[name] = value
    return lines

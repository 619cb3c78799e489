"""The whole payments flow: events per CPU-second, wall rate and peak memory."""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import add_json, show
from ops.local import Stack, local_stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``flow``."""
    parser = subparsers.add_parser(
        "flow", help="the whole payments flow: CPU, wall rate, memory", description=__doc__
    )
    parser.add_argument("--payments", type=int, default=4_000_000, metavar="N")
    parser.add_argument("--epoch", type=int, default=5, metavar="SECONDS")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="the median counts")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure; print the median of each figure: a shared machine makes single runs worthless."""
    runs = [whole_flow(args.payments, 20_000, args.epoch) for _ in range(args.runs)]
    show({name: statistics.median(run[name] for run in runs) for name in runs[0]}, args.json)


def run_flow(stack: Stack, **settings: str) -> dict[str, float]:
    """Run the flow to the end of its topic; return CPU and wall seconds and peak MiB."""
    with tempfile.TemporaryDirectory() as work:
        environ = {
            **os.environ,
            **stack.env(),
            "MILLSTREAM_STOP_AT_END": "true",
            "MILLSTREAM_CLOSE_WINDOWS_AT_END": "true",
            **settings,
        }
        command = [sys.executable, "-m", "bytewax.run", "flows.payments", "-r", f"{work}/state"]
        began = time.monotonic()
        process = subprocess.Popen(command, env=environ, cwd=work)
        peak, ended = 0.0, 0
        while not ended:
            time.sleep(0.1)
            peak = _peak_mib(process.pid) or peak
            # Of this process alone, by the system's own accounting.
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if status:
            raise RuntimeError(f"the flow ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": time.monotonic() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": peak,
    }


def _peak_mib(pid: int) -> float | None:
    """Return the most memory that a process has had; None where the system does not say.

    What wait4 says begins with what its parent had when it was made.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else None


def whole_flow(payments: int, cards: int, interval: int) -> dict[str, Any]:
    """Run the flow on a topic of `payments`, all sinks on, Redis on; then on an empty one."""
    made = simulate(Params(payments=payments, customers=cards))
    with local_stack() as stack:
        for topic in ("payments", "empty"):
            create_topic(stack.bootstrap, topic, 4)
        produce(made, stack.bootstrap, "payments")
        tables = Path(stack.env()["MILLSTREAM_DELTA_ROOT"])
        every = {"BYTEWAX_SNAPSHOT_INTERVAL": str(interval)}
        full = run_flow(stack, **every)
        idle = run_flow(
            stack, MILLSTREAM_TOPIC="empty", MILLSTREAM_DELTA_ROOT=f"{tables}-empty", **every
        )
    events = len(made.records)
    return {
        "events": events,
        "cards": cards,
        "epoch_s": interval,
        "events_per_cpu_s": events / full["cpu_s"],
        "events_per_cpu_s_without_start": events / (full["cpu_s"] - idle["cpu_s"]),
        "events_per_s": events / full["wall_s"],
        "start_cpu_s": idle["cpu_s"],
        "start_wall_s": idle["wall_s"],
        "peak_mib": full["peak_mib"],
    }

"""Two processes of one cluster, two slices, and one process, on the same records, in turns.

Each reads a topic to its end: events per CPU-second of all its processes, their starts left out,
and the wall rate, with them. Redis' CPU is beside it. And, with --kill, how far the alerts of each
partition fall behind at a steady rate, on the local broker, where one of two processes is killed
with -9 after a third of the time: whatever has ended is started again at once, as a supervisor
would.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks import enforce_topic as enforce
from benchmarks.against import spread
from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.latency import PARTITIONS, delays
from benchmarks.runs import Code, cpu_of, own_ends, run_alone
from benchmarks.topics import EMPTY, fill
from flows.environment import ENFORCE_PREFIX, PREFIX
from flows.settings import load
from flows.streams import PAYMENTS
from ops.local import local_stack, start_broker
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests.running import listens, wait_until
from tests.servers.ports import lasting_port

ONE, CLUSTER, SLICES = "one", "cluster", "slices"
_CARDS: Final = 20_000


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``slices``."""
    parser = add_benchmark(
        subparsers, "slices", "two processes of a cluster, two slices, one process", __doc__
    )
    parser.add_argument("--flow", choices=("alerts", "enforce"), default="alerts")
    parser.add_argument("--turns", type=at_least_one, default=3, metavar="N")
    parser.add_argument("--events", type=at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    parser.add_argument(
        "--kill", type=int, metavar="SECONDS", help="how long, at a steady rate, instead"
    )
    parser.add_argument("--rate", type=at_least_one, default=2_000, metavar="EVENTS")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.kill:
        found: dict[str, Any] = {}
        for kind in (CLUSTER, SLICES):
            for partition, worst in killed(kind, args.rate, args.kill, args.epoch).items():
                found[f"{kind} partition {partition}: worst event to alert, ms"] = worst
        show(found, args.json)
        return
    turns = list(_rates(args.flow, args.events, args.turns, args.epoch))
    every = {name: spread([turn[name] for turn in turns]) for name in turns[0]}
    if args.json:
        print(json.dumps({"events": args.events, "turns": turns, **every}, indent=2))
        return
    for name, each in every.items():
        print("{:40}{median:12,.2f} ({lowest:,.2f} to {highest:,.2f})".format(name, **each))


def _rates(flow: str, events: int, turns: int, epoch: int) -> Iterator[dict[str, float]]:
    with start_broker() as bootstrap, tempfile.TemporaryDirectory() as work:
        more: dict[str, dict[str, str]] = {}
        if flow == "alerts":
            _, events = fill(bootstrap, PAYMENTS, events, _CARDS)
            more = {PAYMENTS.name: {}, EMPTY: {}}
        else:
            enforce.send(bootstrap, enforce.records("json", events, 0.01))
            create_topic(bootstrap, EMPTY, PARTITIONS)
            for topic in (enforce.NAME, EMPTY):
                enforce.declare(Path(work, topic), "json", f"topic: {topic}\n")
                more[topic] = {f"{ENFORCE_PREFIX}FOLDER": f"{work}/{topic}"}
        kinds = (ONE, CLUSTER, SLICES)
        for number in range(turns):
            first, turn = number % len(kinds), dict[str, float]()
            for kind in (*kinds[first:], *kinds[:first]):
                full, none = (
                    _to_the_end(kind, flow, bootstrap, topic, epoch, more[topic])
                    for topic in more
                )
                cpu, wall, redis = full[0] - none[0], full[1], full[2] - none[2]
                turn[f"{kind}: events per CPU-second"] = events / cpu
                turn[f"{kind}: events per second"] = events / wall
                turn[f"{kind}: Redis, µs per event"] = 1e6 * redis / events
            for kind in (CLUSTER, SLICES):
                for what in ("CPU-second", "second"):
                    mine, ones = (turn[f"{k}: events per {what}"] for k in (kind, ONE))
                    turn[f"{kind}: of one process, per {what}"] = mine / ones
            yield turn


def _to_the_end(
    kind: str, flow: str, bootstrap: str, topic: str, epoch: int, more: Mapping[str, str]
) -> tuple[float, float, float]:
    """Return CPU-seconds and seconds that the flow takes in all, and CPU-seconds of Redis."""
    with own_ends(PAYMENTS, bootstrap, topic) as ends:
        before = cpu_of(ends.redis)
        others = environs(kind)
        with ThreadPoolExecutor(len(others)) as pool:
            took = list(
                pool.map(
                    lambda number: run_alone(
                        Code(),
                        flow,
                        {**ends.environ, **more, **others[number]},
                        ends.folder / str(number),
                        epoch,
                        state=_state(kind, ends.folder, number),
                    ),
                    range(len(others)),
                )
            )
        redis = cpu_of(ends.redis) - before
        return sum(cpu for _, cpu, _ in took), max(wall for wall, _, _ in took), redis


def environs(kind: str) -> Sequence[Mapping[str, str]]:
    """Return the settings of each process of a kind."""
    if kind == ONE:
        return [{}]
    if kind == SLICES:
        return [{f"{PREFIX}SLICE": f"{number}/2"} for number in range(2)]
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    return [
        {"BYTEWAX_PROCESS_ID": str(number), "BYTEWAX_ADDRESSES": addresses}
        for number in range(2)
    ]


def _state(kind: str, folder: Path, number: int) -> Path:
    return folder / (f"state-{number}" if kind == SLICES else "state")


class _Supervised:
    """Processes that are started again when they have ended, until they are told to stop."""

    def __init__(self, commands: Sequence[tuple[list[str], dict[str, str]]]) -> None:
        self._commands, self._stops = commands, False
        self.processes = [self._start(number) for number in range(len(commands))]
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        command, environ = self._commands[number]
        return subprocess.Popen(command, env=environ)

    def _watch(self) -> None:
        while not self._stops:
            for number, each in enumerate(self.processes):
                if each.poll() is not None:
                    self.processes[number] = self._start(number)
            time.sleep(0.1)

    def stop(self) -> None:
        self._stops = True
        self._thread.join()
        for each in self.processes:
            each.send_signal(signal.SIGTERM)
        for each in self.processes:
            each.wait(60)


def killed(kind: str, rate: int, seconds: int, epoch: int) -> dict[int, float]:
    """Return by partition the longest time from an event to its alert or decision, in ms.

    The last of two processes is killed; of slices it reads the odd partitions.
    """
    with local_stack() as stack, tempfile.TemporaryDirectory() as work:
        settings = load(stack.env())
        create_topic(stack.bootstrap, settings.topic, PARTITIONS)
        common = {**os.environ, **stack.env(), "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch)}
        commands = [
            (
                [sys.executable, "-m", "bytewax.run", "flows.alerts", "-b", "0", "-r",
                 str(_state(kind, Path(work), number))],
                {**common, **each},
            )
            for number, each in enumerate(environs(kind))
        ]  # fmt: skip
        running = _Supervised(commands)
        try:
            for each in running.processes:
                wait_until(partial(listens, each.pid))
            made = simulate(
                Params(
                    payments=rate * seconds,
                    customers=_CARDS,
                    partitions=PARTITIONS,
                    pace=float(rate),
                    start=datetime.now(UTC),
                )
            )
            timer = threading.Timer(seconds / 3, lambda: running.processes[1].kill())
            timer.start()
            produce(made, stack.bootstrap, settings.topic, rate)
            # For all to be read, by those that have just started too.
            time.sleep(seconds / 3)
        finally:
            running.stop()
        found = pl.concat(
            delays(settings.kafka, settings.topic, topic, warm=seconds / 6)
            for topic in (settings.alerts_topic, settings.decisions_topic)
        )
    worst = found.group_by("source_partition").agg(pl.col("took").max())
    return dict(sorted(itertools.chain(worst.iter_rows())))

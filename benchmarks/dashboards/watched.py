"""Minutes of two flows that have much to do and something to bear, with a Prometheus that looks on.

Payments that happen as they are sent, and labels of them: a producer that halts and catches up, one
that sends bad records, Redis that stands still, a partition that falls silent, a threshold that is
changed, and a flow that is killed and started again.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks import ENVIRON
from benchmarks.dashboards.prometheus import scraping
from benchmarks.labels import fill_labels
from benchmarks.runs import BenchmarkError
from benchmarks.topics import PARTITIONS
from flows.settings import PREFIX
from flows.streams import LABELS, PAYMENTS
from flows.streams.models import drafts_of
from ops.local import Stack
from ops.processes import ask, free_port, running
from ops.servers import HOST, broker, redis
from ops.simulate import Params, Simulation, Troubles, produce, simulate
from ops.topics import create_topic

SCRAPED_S: Final = 5
_CUSTOMERS: Final = 20_000
_READY_S: Final = 60
"""For how long payments are made and flows start, so much before the first payment happens."""

_LABELLED: Final = timedelta(seconds=30)
_SILENT: Final = 2
"""The partition that falls silent."""


@dataclass(frozen=True)
class _Part:
    """A share of the time, and that of the payments which are sent in it."""

    time: float
    payments: float
    bad: bool = False
    silent: bool = False


_PARTS: Final = (
    _Part(0.2, 0.2),
    _Part(0.07, 0),
    _Part(0.13, 0.2),
    _Part(0.15, 0.15, bad=True),
    _Part(0.15, 0.15, silent=True),
    _Part(0.3, 0.3),
)
_RATE: Final = 400
_BAD_RATE: Final = 40
_BAD_SHARE: Final = sum(part.time for part in _PARTS if part.bad)
_ALL_BAD: Final = replace(
    Troubles.none(), malformed=0.35, contract=0.45, bad_utf8=0.1, duplicate=0.1
)
# As shares of the time.
_CHANGED, _STOOD_STILL, _KILLED = 0.3, 0.35, 0.7
_STILL_S: Final = 15


@contextlib.contextmanager
def watched(folder: Path, seconds: float) -> Iterator[tuple[str, float]]:
    """Run it for so many seconds; then give Prometheus' address, and when it began.

    The time is in s since 1970; the address answers for the length of a block. Raises
    BenchmarkError if a flow ends, with what it said last.
    """
    start = datetime.now(UTC) + timedelta(seconds=_READY_S)
    made = _payments(0, _RATE, seconds, start, Troubles())
    bad = _payments(1, _BAD_RATE, _BAD_SHARE * seconds, start, _ALL_BAD)
    with contextlib.ExitStack() as ends:
        kafka = ends.enter_context(running("broker", *broker(), folder / "broker.log"))
        cache = ends.enter_context(running("redis", *redis(folder), folder / "redis.log"))
        stack = Stack(f"{HOST}:{kafka.port}", f"redis://{HOST}:{cache.port}/0", "", folder)
        for stream in (PAYMENTS, LABELS):
            create_topic(stack.bootstrap, stream.name, PARTITIONS)
        settings = _settings(stack)
        payments = _Flow("payments", folder, {**settings, f"{PREFIX}SEND_ALERTS": "false"})
        flows = (payments, _Flow("alerts", folder, settings))
        for flow in flows:
            ends.callback(flow.kill)
            flow.start()
        jobs = {f"millstream-{flow.name}": flow.port for flow in flows}
        url = ends.enter_context(scraping(folder, jobs, SCRAPED_S))
        for flow in flows:
            flow.wait()
        time.sleep(max(0.0, start.timestamp() - time.time()))
        with ThreadPoolExecutor(1) as meanwhile:
            borne = meanwhile.submit(_bear, settings, cache.pid, payments, seconds)
            _send(stack.bootstrap, made, bad, seconds)
            borne.result()
        for flow in flows:
            flow.check()
        yield url, start.timestamp()


def _settings(stack: Stack) -> dict[str, str]:
    """Return the settings of both flows: all rules, the features of the drafts, their model."""
    drafts, rules = drafts_of(PAYMENTS), stack.folder / "rules"
    assert drafts is not None  # payments have some
    assert PAYMENTS.rules is not None
    # A folder of rules has the features that it needs beside the stream's own.
    shutil.copytree(PAYMENTS.rules, rules, ignore=lambda *_: ["features"])
    shutil.copytree(drafts / "features", rules / "features")
    return {
        **stack.env(),
        "BYTEWAX_SNAPSHOT_INTERVAL": "5",
        f"{PREFIX}RULES": str(rules),
        f"{PREFIX}MODEL": str(drafts / "model.onnx"),
        f"{PREFIX}CONTROL_TOPIC": f"{PAYMENTS.name}.control",
        # The labels' own is an hour, as long as this may run.
        f"{PREFIX}LABELS_OUT_OF_ORDERNESS": "30s",
    }


class _Flow:
    """A flow with metrics, which may be killed and started again."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.name, self.port = name, free_port()
        self._log, self._work = folder / f"{name}.log", folder / f"{name}-work"
        # From an empty folder: bytewax.run looks for the flow in the working directory first.
        self._work.mkdir()
        self._environ = {
            **ENVIRON,
            **settings,
            "BYTEWAX_RECOVERY_DIRECTORY": str(folder / f"{name}-state"),
            "BYTEWAX_DATAFLOW_API_ENABLED": "1",
            "BYTEWAX_DATAFLOW_API_PORT": str(self.port),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
        }

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"flows.{self.name}"],
                env=self._environ, cwd=self._work, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        while not ask(self.port, b"GET /metrics HTTP/1.0\r\n\r\n"):
            self.check()
            time.sleep(0.2)

    def check(self) -> None:
        if self._process.poll() is not None:
            said = self._log.read_text("utf-8", "replace").splitlines()
            raise BenchmarkError(f"flows.{self.name} ended: {said[-1] if said else 'no word'}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _bear(settings: Mapping[str, str], redis: int, flow: _Flow, seconds: float) -> None:
    began = time.monotonic()

    def at(share: float) -> None:
        time.sleep(max(0.0, began + share * seconds - time.monotonic()))

    at(_CHANGED)
    command = ["thresholds", "set", "review", "30", "--why", "more time to look"]
    subprocess.run(
        [sys.executable, "-m", "ops.cli", *command], env={**ENVIRON, **settings}, check=True
    )
    at(_STOOD_STILL)
    os.kill(redis, signal.SIGSTOP)
    time.sleep(_STILL_S)
    os.kill(redis, signal.SIGCONT)
    at(_KILLED)
    flow.kill()
    flow.start()


def _send(bootstrap: str, made: Simulation, bad: Simulation, seconds: float) -> None:
    """Send payments part by part, labels of each after it, and in one part the bad ones beside."""
    until = 0.0
    for part in _PARTS:
        lasts, since, until = part.time * seconds, until, until + part.payments
        if not part.payments:
            time.sleep(lasts)
            continue
        records = _share(made.records, since, until)
        if part.silent:
            records = records.filter(pl.col("partition") != _SILENT)
        sent = [replace(made, records=records), *([bad] if part.bad else [])]
        with ThreadPoolExecutor() as beside:
            for done in [
                beside.submit(
                    produce, each, bootstrap, PAYMENTS.name, len(each.records) / lasts
                )
                for each in sent
            ]:
                done.result()
        fill_labels(bootstrap, _share(made.events, since, until), _LABELLED)


def _share(rows: pl.DataFrame, since: float, until: float) -> pl.DataFrame:
    first, last = (round(share * rows.height) for share in (since, until))
    return rows[first:last]


def _payments(
    seed: int, rate: int, seconds: float, start: datetime, troubles: Troubles
) -> Simulation:
    """Return payments that happen as they are sent, at a rate in events/s."""
    return simulate(
        Params(
            payments=int(rate * seconds), customers=_CUSTOMERS, cards_per_customer=20,
            partitions=PARTITIONS, pace=rate, start=start, seed=seed, troubles=troubles,
        )
    )  # fmt: skip

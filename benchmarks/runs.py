"""Runs of a flow as a process of its own, to the end of a topic: what each of them took."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis import Redis

from benchmarks import ENVIRON
from flows.settings import PREFIX, prefix_of
from flows.streams import CLICKS, PAYMENTS, Stream
from operators.errors import KnownError
from ops.local import start_redis

ROOT: Final = Path(__file__).parents[1]

STREAMS: Final = {"payments": PAYMENTS, "alerts": PAYMENTS, "clicks": CLICKS}
"""The flows that can be run, by name, and the stream that each reads."""

_POLL_S: Final = 0.05


class BenchmarkError(KnownError):
    """What stands in a benchmark's way; the message says what to do."""


@dataclass(frozen=True)
class Code:
    """A tree of the project's code, and the Python whose packages it is run with."""

    folder: Path = ROOT
    python: str = sys.executable


@dataclass(frozen=True)
class Used:
    """What a run took: CPU of the flow's processes and of its Redis, time, the most memory."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    redis_s: float


@dataclass(frozen=True)
class Ends:
    """What is a run's own: an empty Redis, a folder for tables and state, and its settings."""

    redis: Redis
    folder: Path
    environ: dict[str, str]


@contextlib.contextmanager
def own_ends(stream: Stream, bootstrap: str, topic: str) -> Iterator[Ends]:
    """Give a run that reads a topic what is its own, for the length of a block."""
    with start_redis() as url, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        # What one run has sent another would have to tell from its own.
        prefix, mine = prefix_of(stream), secrets.token_hex(4)
        environ = {
            **ENVIRON,
            f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            f"{PREFIX}REDIS_URL": url,
            f"{PREFIX}DELTA_ROOT": f"{work}/tables",
            f"{prefix}TOPIC": topic,
            f"{prefix}ALERTS_TOPIC": f"{topic}.alerts.{mine}",
            f"{PREFIX}DECISIONS_TOPIC": f"{topic}.decisions.{mine}",
            f"{prefix}DLQ_TOPIC": f"{topic}.dlq.{mine}",
            f"{prefix}CONSUMER_GROUP": f"benchmark-{mine}",
        }
        with contextlib.closing(Redis.from_url(url)) as redis:
            yield Ends(redis, Path(work), environ)


def run_flow(
    code: Code,
    flow: str,
    bootstrap: str,
    topic: str,
    epoch: int,
    look: Callable[[Path], None] = lambda _: None,
    *,
    more: Mapping[str, str] | None = None,
) -> Used:
    """Run a flow of `STREAMS` on a topic to its end, with epochs of so many s.

    `more` are further settings, by their variables; `look` is given the folder of its tables when
    it has ended. Raises BenchmarkError if the flow fails, with what it said last.
    """
    with own_ends(STREAMS[flow], bootstrap, topic) as ends:
        before = cpu_of(ends.redis)
        environ = ends.environ | _to_the_end(code) | dict(more or {})
        wall, used, peak = run_alone(code, flow, environ, ends.folder, epoch)
        look(ends.folder / "tables")
        return Used(used, wall, peak, cpu_of(ends.redis) - before)


def run_alone(
    code: Code,
    flow: str,
    environ: Mapping[str, str],
    folder: Path,
    epoch: int,
    state: Path | None = None,
) -> tuple[float, float, float]:
    """Run a flow to the end of what it reads; return seconds, CPU seconds and its peak MB.

    Its log, its working directory and, unless `state` is another folder, its recovery store are in
    `folder`. Raises BenchmarkError.
    """
    every = {
        **ENVIRON,
        f"{PREFIX}STOP_AT_END": "true",
        **environ,
        "PYTHONPATH": str(code.folder),
        "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch),
        "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
    }
    state, log = state or folder / "state", folder / "log"
    command = [code.python, "-m", "bytewax.run", f"flows.{flow}", "-r", str(state)]
    # From an empty folder: bytewax.run looks for the flow in the working directory first.
    (folder / "work").mkdir(parents=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=every, cwd=folder / "work", stdout=output, stderr=output
        )
        try:
            found = _watched(process)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
    if process.returncode:
        said = log.read_text("utf-8", "replace").strip().splitlines()
        raise BenchmarkError(
            f"flows.{flow} ended with {process.returncode}: {said[-1] if said else 'no word'}"
        )
    return found


def _to_the_end(code: Code) -> dict[str, str]:
    """Return the settings with which a flow reads what is there, and closes every window."""
    found = {f"{PREFIX}STOP_AT_END": "true"}
    # Where there is no such setting the other one does that too, and an unknown one is refused.
    if "close_windows_at_end" in (code.folder / "flows" / "settings.py").read_text("utf-8"):
        found[f"{PREFIX}CLOSE_WINDOWS_AT_END"] = "true"
    return found


def cpu_of(redis: Redis) -> float:
    """Return the CPU-seconds that a Redis server has used."""
    used = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _watched(process: "subprocess.Popen[bytes]") -> tuple[float, float, float]:
    """Wait for a process; return seconds, CPU seconds of it and its children, and peak MB."""
    began, peak, ended = time.monotonic(), 0.0, 0
    while not ended:
        time.sleep(_POLL_S)
        peak = _peak_mb(process.pid) or peak
        # By the system's own accounting; children count once they have been waited for.
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, used.ru_utime + used.ru_stime, peak


def _peak_mb(pid: int) -> float | None:
    """Return the most memory that a process has had; None where the system does not say.

    What wait4 says begins with what its parent had when it was made.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else None

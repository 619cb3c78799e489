"""Runs of a flow as a process of its own, to the end of a topic: what each of them took."""

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
    """What a run took: CPU of the flow's processes and of its Redis, time, memory."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    redis_s: float
    redis_mib: float


def run_flow(
    code: Code,
    flow: str,
    bootstrap: str,
    topic: str,
    *,
    epoch: int = 5,
    watch: Callable[[], None] = lambda: None,
    **settings: str,
) -> Used:
    """Run a flow of `STREAMS` on a topic to its end, with tables, Redis and outputs of its own.

    `epoch` is in s; `watch` is called now and then while it runs, `settings` are further
    variables. Raises BenchmarkError if the flow fails, with what it said last.
    """
    with start_redis() as url, tempfile.TemporaryDirectory(prefix="millstream-") as work:
        folder, own = Path(work), Redis.from_url(url)
        environ = {
            **ENVIRON,
            "PYTHONPATH": str(code.folder),
            **_settings(STREAMS[flow], bootstrap, topic),
            f"{PREFIX}REDIS_URL": url,
            f"{PREFIX}DELTA_ROOT": str(folder / "tables"),
            f"{PREFIX}STOP_AT_END": "true",
            f"{PREFIX}CLOSE_WINDOWS_AT_END": "true",
            "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch),
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
            **settings,
        }
        command = [code.python, "-m", "bytewax.run", f"flows.{flow}", "-r", str(folder / "state")]
        # From an empty folder: bytewax.run looks for the flow in the working directory first.
        (folder / "work").mkdir()
        before = own.info("cpu")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environ, cwd=folder / "work", stdout=log, stderr=log
            )
            try:
                wall, used, peak = _watched(process, watch)
            finally:
                if process.returncode is None:
                    process.kill()
                    process.wait()
        if process.returncode:
            said = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
            raise BenchmarkError(
                f"flows.{flow} ended with {process.returncode}: {said[-1] if said else 'no word'}"
            )
        redis, memory = own.info("cpu"), own.info("memory")
        own.close()
    spent = sum(redis[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return Used(used, wall, peak, spent, memory["used_memory_peak"] / 2**20)


def _settings(stream: Stream, bootstrap: str, topic: str) -> dict[str, str]:
    # What one run has sent another would have to tell from its own.
    prefix, mine = prefix_of(stream), secrets.token_hex(4)
    return {
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        f"{prefix}TOPIC": topic,
        f"{prefix}ALERTS_TOPIC": f"{topic}.alerts.{mine}",
        f"{prefix}DLQ_TOPIC": f"{topic}.dlq.{mine}",
        f"{prefix}CONSUMER_GROUP": f"benchmark-{mine}",
    }


def _watched(
    process: "subprocess.Popen[bytes]", watch: Callable[[], None]
) -> tuple[float, float, float]:
    """Wait for a process; return seconds, CPU seconds of it and its children, and peak MiB."""
    began, peak, ended = time.monotonic(), 0.0, 0
    while not ended:
        time.sleep(_POLL_S)
        watch()
        peak = _peak_mib(process.pid) or peak
        # By the system's own accounting; children count once they have been waited for.
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, used.ru_utime + used.ru_stime, peak


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

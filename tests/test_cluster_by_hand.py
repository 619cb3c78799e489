"""The commands of docs/operations.md on a cluster of several processes, in one go."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from flows.settings import PREFIX
from tests.pages import ROOT, blocks
from tests.tools import tool

WATCHING = Path("k8s/watching")
STATUS = ".venv/bin/millstream status payments -r state"
WAIT = 'wait "${pids[@]}"'


def free_hundred() -> int:
    """Return a hundred of ports below those of connections, of which those in use here are free."""
    for hundred in range(120, 220):
        probes = [socket.socket() for _ in range(9)]
        try:
            for probe, last in zip(probes, (1, 2, 3, 4, 30, 31, 32, 33, 90), strict=True):
                probe.bind(("127.0.0.1", hundred * 100 + last))
        except OSError:
            continue
        else:
            return hundred
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no ports are free")


def until(command: str, words: str) -> str:
    """Return what asks again until the answer has a line with these words."""
    return f"until {command} | grep -E '{words}'; do sleep 1; done"


@pytest.mark.slow
def test_a_cluster_is_run_watched_killed_compacted_grown_and_switched_by_the_commands(
    tmp_path: Path,
) -> None:
    tool("prometheus")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / WATCHING, tmp_path / WATCHING)
    start, watch, kill, compact, grow, switch, prove = blocks(
        "docs/operations.md", "A cluster on one machine, all of it", "sh"
    )
    rate, lag = watch.splitlines()[-2:]
    script = "\n".join(
        [
            "set -euo pipefail",
            "trap 'kill -9 $(jobs -p) 2> /dev/null || true; .venv/bin/millstream local down' EXIT",
            start.replace(STATUS, until(STATUS, "by the recovery store")),
            watch.replace(rate, "\n".join(until(rate, f":303{n}.*=> ") for n in range(3)))
            .replace(lag, until(lag, "=>")),
            kill,
            # While it starts as well as behind that.
            compact,
            until(STATUS, "running, "),
            compact,
            grow.replace(STATUS, until(STATUS, "running, ")),
            switch,
            prove.replace(STATUS, until(STATUS, "by the recovery store; 0 to read")),
        ]
    ).replace(WAIT, f"{WAIT} || true")  # fmt: skip
    hundred = free_hundred()
    config = tmp_path / WATCHING / "prometheus.yaml"
    for ours, ten in (("303", 3), ("909", 9)):
        script = script.replace(ours, f"{hundred}{ten}")
        config.write_text(config.read_text().replace(ours, f"{hundred}{ten}"))
    script = script.replace("localhost:21%02g", f"localhost:{hundred}%02g")
    clean = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "BYTEWAX_"))}
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=clean, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = shell.communicate(timeout=900)
    finally:
        # What it has started, should it not have come to its end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    logs = [(tmp_path / f"payments-{n}.log").read_text() for n in range(4)]
    assert shell.returncode == 0, said + "".join(logs)
    for number in (0, 2):
        assert "millstream: another process of this flow has ended" in logs[number]
    assert "Traceback" not in "".join(logs)
    assert "process 3 of 4" in logs[3]
    assert "✗" not in said
    assert said.count(": the same under both roots") == 14
    assert "payments.alerts holds every row of gold/alerts, once" in said
    bronze = pl.read_delta(str(tmp_path / ".local" / "tables" / "bronze" / "payments"))
    assert bronze.height > 9_000

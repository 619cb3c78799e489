"""kill -9 at any moment, and the books still balance."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl

from flows import settings as settings_
from flows.tables import BRONZE
from ops.local import Stack, local_stack
from ops.simulate import Params, Simulation, produce, simulate
from ops.topics import create_topic
from ops.verify import verify

KILLS = 20
RATE = 700.0


def _run(stack: Stack, state: Path, work: Path, **settings: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, **stack.env(), "BYTEWAX_SNAPSHOT_INTERVAL": "1", **settings}
    command = [sys.executable, "-m", "bytewax.run", "flows.payments", "-r", str(state)]
    log = (stack.folder / "flow.log").open("ab")
    with log:
        return subprocess.Popen(command, env=environ, cwd=work, stdout=log, stderr=log)


def _rows(stack: Stack) -> int:
    root = Path(stack.env()["MILLSTREAM_DELTA_ROOT"]) / BRONZE.name
    if not (root / "_delta_log").exists():
        return 0
    return int(pl.scan_delta(str(root)).select(pl.len()).collect().item())


def _kill_at_random(stack: Stack, state: Path, work: Path, rng: random.Random) -> set[int]:
    """Return the numbers of bronze rows that the kills left."""
    left = set()
    for _ in range(KILLS):
        # Small batches, so that many are under way whenever the kill comes.
        process = _run(
            stack, state, work, MILLSTREAM_BATCH_SIZE=str(rng.choice([50, 500, 20_000]))
        )
        # Starting takes 2 to 3 s, an epoch 1 s: some kills come before the first commit.
        time.sleep(rng.uniform(2.0, 6.5))
        assert process.poll() is None, (stack.folder / "flow.log").read_text()
        process.send_signal(signal.SIGKILL)
        process.wait()
        left.add(_rows(stack))
    return left


def test_twenty_kills_leave_the_books_balanced(tmp_path: Path) -> None:
    rng = random.Random(20)
    made: Simulation = simulate(
        Params(payments=60_000, customers=2_000, terminals=2_000, seed=3)
    )
    made.truth.write_parquet(tmp_path / "truth.parquet")
    work = tmp_path / "work"
    work.mkdir()
    with local_stack() as stack:
        create_topic(stack.bootstrap, "payments", 4)
        sender = threading.Thread(
            target=produce, args=(made, stack.bootstrap, "payments", RATE), daemon=True
        )
        sender.start()
        left = _kill_at_random(stack, tmp_path / "state", work, rng)
        # Kills that only ever hit a starting flow would show nothing.
        assert len(left) > KILLS // 4
        sender.join()
        last = _run(stack, tmp_path / "state", work, MILLSTREAM_STOP_AT_END="true")
        assert last.wait(120) == 0, (stack.folder / "flow.log").read_text()
        settings = settings_.load(stack.env() | {"MILLSTREAM_STOP_AT_END": "true"})
        report = verify(settings, tmp_path / "truth.parquet")
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.counts["events"] == len(made.records)

"""kill -9 at any moment, and the books still balance."""

import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import polars as pl

from flows import settings as settings_
from flows.streams import PAYMENTS
from ops.local import Stack, local_stack
from ops.simulate import Params, Simulation, produce, simulate
from ops.topics import create_topic
from ops.verify import verify
from tests import topics
from tests.running import Flow, run, wait_until

KILLS = 6
RATE = 700.0


def _rows(stack: Stack) -> int:
    root = Path(stack.env()["MILLSTREAM_DELTA_ROOT"]) / PAYMENTS.bronze.name
    if not (root / "_delta_log").exists():
        return 0
    return int(pl.scan_delta(str(root)).select(pl.len()).collect().item())


def _kill_at_random(
    stack: Stack, folder: Path, rng: random.Random, shares: list[Simulation]
) -> set[int]:
    """Return the numbers of bronze rows that the kills left, each with records on their way."""
    left = set()
    for share in shares:
        sender = threading.Thread(
            target=produce, args=(share, stack.bootstrap, "payments", RATE), daemon=True
        )
        sender.start()
        # Small batches, so that many are under way whenever the kill comes.
        size = {"MILLSTREAM_BATCH_SIZE": str(rng.choice([50, 500, 20_000]))}
        flow = Flow("payments", stack.env() | size, folder)
        # Starting takes 2 to 3 s, an epoch 1 s: some kills come before the first commit, and
        # most behind one, however slow the machine is.
        if rng.random() < 0.6:
            before = _rows(stack)
            wait_until(lambda before=before: before < _rows(stack))
            time.sleep(rng.uniform(0, 1.5))
        else:
            time.sleep(rng.uniform(0.5, 5.0))
        assert flow.process.poll() is None, flow.said()
        flow.kill()
        left.add(_rows(stack))
        sender.join()
    return left


def test_kills_at_random_leave_the_books_balanced(tmp_path: Path) -> None:
    rng = random.Random(20)
    made: Simulation = simulate(
        Params(payments=5_000 * KILLS, customers=2_000, terminals=2_000, seed=3)
    )
    made.truth.write_parquet(tmp_path / "truth.parquet")
    size = -(-made.records.height // KILLS)
    shares = [replace(made, records=each) for each in made.records.iter_slices(size)]
    with local_stack() as stack:
        create_topic(stack.bootstrap, "payments", 4)
        left = _kill_at_random(stack, tmp_path, rng, shares)
        # Kills that only ever hit a starting flow would show nothing.
        assert len(left) > KILLS // 4
        bounded = stack.env() | topics.TO_THE_END
        run("payments", bounded, tmp_path)
        report = verify(settings_.load(bounded), tmp_path / "truth.parquet")
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.counts["events"] == len(made.records)

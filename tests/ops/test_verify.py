"""verify holds after an undisturbed run, and names whatever is tampered with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

from flows import settings as settings_
from flows.settings import Settings
from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from ops.verify import Report, verify

TOPIC = "to-verify"


@pytest.fixture(scope="module")
def done(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of a flow that has run to the end of a topic with every trouble."""
    folder = tmp_path_factory.mktemp("verify")
    made = simulate(Params(payments=20_000, customers=1_000, terminals=1_000, seed=5))
    create_topic(stack.bootstrap, TOPIC, 4)
    produce(made, stack.bootstrap, TOPIC)
    made.truth.write_parquet(folder / "truth.parquet")
    environ = stack.env() | {
        "MILLSTREAM_TOPIC": TOPIC,
        "MILLSTREAM_ALERTS_TOPIC": f"{TOPIC}.alerts",
        "MILLSTREAM_DLQ_TOPIC": f"{TOPIC}.dlq",
        "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
        "MILLSTREAM_STOP_AT_END": "true",
    }
    command = [
        sys.executable,
        "-m",
        "bytewax.run",
        "flows.payments",
        "-r",
        str(folder / "state"),
    ]
    run = subprocess.run(
        command, env={**os.environ, **environ}, cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return settings_.load(environ)


@pytest.fixture
def copy(done: Settings, tmp_path: Path) -> Settings:
    """The same with tables of its own, to be tampered with."""
    root = tmp_path / "tables"
    shutil.copytree(done.delta_root, root)
    return done.model_copy(update={"delta_root": str(root)})


def _broken(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


def test_an_undisturbed_run_balances(done: Settings) -> None:
    report = verify(done, Path(done.delta_root).parent / "truth.parquet")
    assert _broken(report) == []
    assert report.counts["events"] > 20_000
    assert all(report.counts[name] for name in ("duplicates", "rejected", "late", "alerts"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("bronze/payments", "bronze"),
        ("silver/payments", "one place"),
        ("silver/duplicates", "one place"),
        ("quarantine/payments", "quarantine"),
        ("gold/alerts", "gold/alerts"),
        ("gold/late", "gold/late"),
        ("gold/terminal_minute", "gold/terminal_minute"),
        ("gold/card_sessions", "gold/card_sessions"),
    ],
)
@pytest.mark.parametrize("how", ["lost", "twice"])
def test_a_row_lost_or_there_twice_is_named(
    copy: Settings, table: str, words: str, how: str
) -> None:
    uri = f"{copy.delta_root}/{table}"
    rows = pl.read_delta(uri)
    changed = rows[1:] if how == "lost" else pl.concat([rows, rows[:1]])
    write_deltalake(uri, changed, mode="overwrite")
    report = verify(copy)
    assert any(words in name for name in _broken(report))
    broken = [check for check in report.checks if not check.ok]
    assert all(check.examples for check in broken)


def test_a_changed_value_is_named(copy: Settings) -> None:
    uri = f"{copy.delta_root}/gold/terminal_minute"
    DeltaTable(uri).update(
        updates={"amount_minor_sum": "amount_minor_sum + 1"}, predicate="payments = 2"
    )
    assert _broken(verify(copy)) == [
        "gold/terminal_minute equals silver's windows, row for row"
    ]


def test_a_message_too_many_is_named(stack: Stack, done: Settings) -> None:
    # Last in this file: the topic keeps it.
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    producer.produce(done.dlq_topic, b"?", headers=[("millstream.id", b"made up")])
    producer.flush()
    assert _broken(verify(done)) == [f"{done.dlq_topic} holds every reject of quarantine, once"]


def test_the_command_exits_with_1_and_prints_json(
    stack: Stack, done: Settings, tmp_path: Path
) -> None:
    environ = stack.env() | {
        "MILLSTREAM_TOPIC": TOPIC,
        "MILLSTREAM_ALERTS_TOPIC": done.alerts_topic,
        "MILLSTREAM_DLQ_TOPIC": done.dlq_topic,
        "MILLSTREAM_DELTA_ROOT": done.delta_root,
    }
    command = [sys.executable, "-m", "ops.cli", "verify", "--json"]
    run = subprocess.run(
        command, env={**os.environ, **environ}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    report = json.loads(run.stdout)
    assert not report["ok"]
    assert [check["examples"] for check in report["checks"] if not check["ok"]] == [
        [{"id": "made up", "problem": "unexpected"}]
    ]

"""verify covers the chargebacks flow's tables: it holds, and names what is tampered with."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

from flows import settings as settings_
from flows.settings import Settings
from ops.local import Stack
from ops.simulate import Params, produce, simulate, simulate_chargebacks
from ops.topics import create_topic
from ops.verify import Report, verify

TOPIC = "outcomes-to-verify"
OUTCOMES = "gold/payment_outcomes equals silver's payments and chargebacks joined, row for row"
PLACES = "every chargeback of the topic is in one place, once"


@pytest.fixture(scope="module")
def done(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of two flows that have run to the ends of topics with every trouble."""
    folder = tmp_path_factory.mktemp("verify")
    made = simulate(Params(payments=4_000, customers=200, terminals=200, seed=5, partitions=2))
    charged = simulate_chargebacks(
        made.payments.with_columns(is_fraud=pl.lit(value=True)),
        0.2,
        within=timedelta(hours=6),
        partitions=2,
    )
    for topic, records in ((TOPIC, made), (f"{TOPIC}.back", charged)):
        create_topic(stack.bootstrap, topic, 2)
        produce(records, stack.bootstrap, topic)
    environ = stack.env() | {
        "MILLSTREAM_TOPIC": TOPIC,
        "MILLSTREAM_ALERTS_TOPIC": f"{TOPIC}.alerts",
        "MILLSTREAM_DLQ_TOPIC": f"{TOPIC}.dlq",
        "MILLSTREAM_CHARGEBACKS_TOPIC": f"{TOPIC}.back",
        "MILLSTREAM_CHARGEBACKS_DLQ_TOPIC": f"{TOPIC}.back.dlq",
        "MILLSTREAM_CHARGEBACKS_WITHIN": "6h",
        "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
        "MILLSTREAM_STOP_AT_END": "true",
    }
    for flow in ("payments", "chargebacks"):
        command = [
            sys.executable, "-m", "bytewax.run", f"flows.{flow}", "-r", str(folder / flow)
        ]  # fmt: skip
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


def test_two_undisturbed_runs_balance(done: Settings) -> None:
    report = verify(done)
    assert _broken(report) == []
    compared = {check.name: check.compared for check in report.checks}
    assert compared[OUTCOMES] > 3_800
    assert compared[PLACES] > 750
    rows = {
        name: pl.read_delta(f"{done.delta_root}/{name}")
        for name in (
            "gold/payment_outcomes", "gold/late_for_outcomes", "quarantine/chargebacks",
            "silver/chargeback_duplicates",
        )
    }  # fmt: skip
    assert all(map(len, rows.values())), "every trouble came"
    matched = rows["gold/payment_outcomes"]["chargeback_id"].is_not_null().sum()
    assert 500 < matched < 800


def test_without_the_flows_tables_nothing_is_said_of_them(copy: Settings) -> None:
    for name in ("gold/payment_outcomes", "gold/late_for_outcomes", "silver/chargebacks"):
        shutil.rmtree(f"{copy.delta_root}/{name}")
    names = [check.name for check in verify(copy).checks]
    assert OUTCOMES not in names
    assert PLACES not in names


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("gold/payment_outcomes", OUTCOMES),
        ("gold/late_for_outcomes", "late for the join"),
        ("silver/chargebacks", PLACES),
        ("silver/chargeback_duplicates", PLACES),
        ("quarantine/chargebacks", PLACES),
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
    broken = [check for check in verify(copy).checks if not check.ok]
    assert any(words in check.name for check in broken)
    assert all(check.examples for check in broken)


@pytest.mark.parametrize(
    "change", ["chargeback_fraud = not chargeback_fraud", "amount_minor = amount_minor + 1"]
)
def test_a_changed_value_is_named(copy: Settings, change: str) -> None:
    column, _, value = change.partition(" = ")
    DeltaTable(f"{copy.delta_root}/gold/payment_outcomes").update(
        updates={column: value}, predicate="chargeback_id IS NOT NULL"
    )
    assert _broken(verify(copy)) == [OUTCOMES]


def test_a_dead_letter_too_many_is_named(stack: Stack, done: Settings) -> None:
    # Last in this file: the topic keeps it.
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    producer.produce(done.chargebacks_dlq_topic, b"?", headers=[("millstream.id", b"made up")])
    producer.flush()
    assert _broken(verify(done)) == [
        f"{done.chargebacks_dlq_topic} holds every rejected chargeback, once"
    ]

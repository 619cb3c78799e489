"""verify holds after an undisturbed run, and names whatever is tampered with."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from rich.console import Console

from flows import settings as settings_
from flows.settings import Settings
from flows.streams import PAYMENTS
from ops.decisions.cli import show
from ops.decisions.explain import UnknownEventError, explain
from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from ops.verify import Check, verify
from ops.verify.features import check_features
from tests import topics
from tests.ops.reports import broken, spoil
from tests.running import environment, run

TOPIC = "to-verify"


@pytest.fixture(scope="module")
def environ(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a flow that has run to the end of a topic with every trouble."""
    folder = tmp_path_factory.mktemp("verify")
    made = simulate(Params(payments=6_000, customers=300, terminals=300, seed=5))
    create_topic(stack.bootstrap, TOPIC, 4)
    produce(made, stack.bootstrap, TOPIC)
    made.truth.write_parquet(folder / "truth.parquet")
    settings = topics.settings(stack, TOPIC, folder)
    run("payments", settings | topics.TO_THE_END, folder)
    return settings


@pytest.fixture(scope="module")
def done(environ: dict[str, str]) -> Settings:
    return settings_.load(environ)


def test_an_undisturbed_run_balances(done: Settings) -> None:
    report = verify(done, Path(done.delta_root).parent / "truth.parquet")
    assert broken(report) == []
    assert report.counts["events"] > 6_000
    assert all(report.counts[name] for name in ("duplicates", "rejected", "late", "alerts"))


def test_a_decision_is_explained_also_of_what_was_plainly_approved(done: Settings) -> None:
    paid, decisions = (
        pl.read_delta(f"{done.delta_root}/{name}")
        for name in ("silver/payments", "gold/decisions")
    )
    plain = paid.join(decisions, on="payment_id", how="anti")
    assert plain.height > 0.9 * paid.height
    found = explain(done, PAYMENTS, plain["payment_id"][0])
    assert (found.recorded, found.replayed, found.today) == (None, None, None)
    assert (found.known, found.same, found.changed) == (True, True, {})
    for name in decisions["payment_id"].sample(3, seed=1):
        found = explain(done, PAYMENTS, name)
        assert found.recorded is not None
        assert found.recorded == found.replayed == found.today
    shown = Console(width=200, file=io.StringIO())
    show(replace(found, known=False), name, shown)
    assert "no decisions yet. By today's rules" in shown.file.getvalue()
    with pytest.raises(UnknownEventError, match="no payment o'clock in silver/payments"):
        explain(done, PAYMENTS, "o'clock")


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
    spoil(f"{copy.delta_root}/{table}", how)
    assert any(words in name for name in broken(verify(copy)))


def test_a_changed_value_is_named(copy: Settings) -> None:
    uri = f"{copy.delta_root}/gold/terminal_minute"
    DeltaTable(uri).update(
        updates={"amount_minor_sum": "amount_minor_sum + 1"}, predicate="payments = 2"
    )
    assert broken(verify(copy)) == ["gold/terminal_minute equals silver's windows, row for row"]


def test_a_changed_feature_is_named(copy: Settings) -> None:
    silver = DeltaTable(f"{copy.delta_root}/silver/payments")
    silver.update(
        updates={"card_amount_minor_24h": "card_amount_minor_24h + 1"},
        predicate="source_partition = 1 AND source_offset = 1000",
    )
    (failed,) = [check for check in verify(copy).checks if not check.ok]
    assert failed.name == "silver/payments' features are what the payments before make them"
    (example,) = failed.examples
    assert example["feature"] == "card_amount_minor_24h"
    assert (example["source_partition"], example["source_offset"]) == (1, 1000)
    assert example["stored"] == example["made"] + 1
    assert example["differences"] == failed.offending == 1


def test_a_feature_is_not_missed_in_rows_that_are_older(copy: Settings) -> None:
    silver = DeltaTable(f"{copy.delta_root}/silver/payments")

    def check() -> Check:
        return check_features(PAYMENTS, copy.delta_root, TOPIC, 30_000_000)

    silver.update(updates={"card_count_1h": "NULL"}, predicate="source_offset < 700")
    found = check()
    assert found.ok
    assert 4 * 600 < found.deleted <= 4 * 700
    silver.update(updates={"card_count_1h": "NULL"}, predicate="source_offset = 1000")
    assert [each["feature"] for each in check().examples] == ["card_count_1h"]


def test_a_feature_that_its_table_says_was_always_there_is_missed_where_it_is_null(
    copy: Settings,
) -> None:
    silver = DeltaTable(f"{copy.delta_root}/silver/payments")
    silver.update(updates={"card_count_1h": "NULL"}, predicate="source_partition = 1")
    (failed,) = [check for check in verify(copy).checks if not check.ok]
    (example,) = failed.examples
    assert (example["feature"], example["stored"]) == ("card_count_1h", None)


def test_the_command_exits_with_1_and_prints_json(
    environ: dict[str, str], copy: Settings
) -> None:
    copied = environ | {"MILLSTREAM_DELTA_ROOT": copy.delta_root}
    spoil(f"{copy.delta_root}/gold/late", "twice")
    command = [sys.executable, "-m", "ops.cli", "verify", "--json"]
    verified = subprocess.run(
        command, env=environment(copied), capture_output=True, text=True, check=False
    )
    assert verified.returncode == 1, verified.stderr
    report = json.loads(verified.stdout)
    assert not report["ok"]
    (failed,) = [check for check in report["checks"] if not check["ok"]]
    assert "gold/late" in failed["name"]
    assert failed["examples"]


def test_a_message_too_many_is_named(stack: Stack, done: Settings) -> None:
    # Last in this file: the topic keeps it.
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    producer.produce(done.dlq_topic, b"?", headers=[("millstream.id", b"made up")])
    producer.flush()
    assert broken(verify(done)) == [
        f"{done.dlq_topic} holds every row of quarantine/payments, once"
    ]

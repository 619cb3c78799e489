"""verify covers the chargebacks flow's tables: it holds, and names what is tampered with."""

import shutil

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from flows.settings import Settings
from flows.streams import CHARGEBACKS
from ops.local import Stack
from ops.verify import verify
from tests import topics
from tests.ops.reports import broken, spoil
from tests.running import run

TOPIC = "outcomes-to-verify"
OUTCOMES = "gold/payment_outcomes equals silver's payments and chargebacks joined, row for row"
PLACES = "every chargeback of the topic is in one place, once"


@pytest.fixture(scope="module")
def done(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of two flows that have run to the ends of topics with every trouble."""
    folder = tmp_path_factory.mktemp("verify")
    topics.fill(stack.bootstrap, TOPIC, topics.made(4_000, partitions=2, seed=5), 2)
    environ = topics.settings(stack, TOPIC, folder) | topics.TO_THE_END
    for flow in ("payments", "chargebacks"):
        run(flow, environ, folder)
    return settings_.load(environ)


def test_two_undisturbed_runs_balance(done: Settings) -> None:
    report = verify(done)
    assert broken(report) == []
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
    spoil(f"{copy.delta_root}/{table}", how)
    assert any(words in name for name in broken(verify(copy)))


@pytest.mark.parametrize(
    "change", ["chargeback_fraud = not chargeback_fraud", "amount_minor = amount_minor + 1"]
)
def test_a_changed_value_is_named(copy: Settings, change: str) -> None:
    column, _, value = change.partition(" = ")
    DeltaTable(f"{copy.delta_root}/gold/payment_outcomes").update(
        updates={column: value}, predicate="chargeback_id IS NOT NULL"
    )
    assert broken(verify(copy)) == [OUTCOMES]


def test_a_dead_letter_too_many_is_named(stack: Stack, done: Settings) -> None:
    # Last in this file: the topic keeps it.
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    producer.produce(
        done.of(CHARGEBACKS).dlq_topic, b"?", headers=[("millstream.id", b"made up")]
    )
    producer.flush()
    assert broken(verify(done)) == [
        f"{done.of(CHARGEBACKS).dlq_topic} holds every rejected chargeback, once"
    ]

"""verify covers the chargebacks flow's tables, and rules backtest takes them for the past."""

import json
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from flows.catalog import flows
from flows.settings import Settings
from flows.streams import CHARGEBACKS
from ops import cli
from ops.local import Stack
from ops.status.flow_status import END
from ops.status.gather import gather
from ops.stores import stores
from ops.verify import verify
from tests import topics
from tests.ops.backtest.expected import (
    BECAME,
    changes_add_up,
    decisions_are_those_made,
    not_known_by_then,
    spent_within,
    what_became,
)
from tests.ops.backtest.on_silver import FEATURE, RULE, Backtest
from tests.ops.reports import broken, spoil
from tests.running import run

TOPIC = "outcomes-to-verify"
OUTCOMES = "gold/payment_outcomes equals silver's payments and chargebacks joined, row for row"
PLACES = "every chargeback of the topic is in one place, once"


@pytest.fixture(scope="module")
def done(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of two flows that have run to the ends of topics with every trouble."""
    folder = tmp_path_factory.mktemp("verify")
    made = topics.made(4_000, partitions=2, seed=5)
    made[""].truth.write_parquet(folder / "truth.parquet")
    topics.fill(stack.bootstrap, TOPIC, made, 2)
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


def test_their_status_is_that_both_have_read_all_to_the_end_of_event_time(
    done: Settings,
) -> None:
    folder = Path(done.delta_root).parent
    kept = stores([folder / "payments", folder / "chargebacks"])
    found = {each.flow: each for each in gather(flows(done), kept, []).flows}
    for name, reads in (("payments", [TOPIC]), ("chargebacks", [TOPIC, f"{TOPIC}.back"])):
        flow = found[name]
        assert (flow.state, flow.lag) == ("stopped", 0)
        assert [topic.topic for topic in flow.topics] == reads
        assert all(sum(topic.position.values()) > 700 for topic in flow.topics)
        assert flow.mark is not None
        assert flow.mark.watermark == END
        assert flow.letters is not None
        assert flow.letters.all == sum(each["all"] for each in flow.letters.codes.values()) > 0
        assert [each for each in flow.problems if "refused" not in each.problem] == []
    # It has neither tables nor a recovery store, nor has anybody run it.
    assert found["alerts"].state == "never run"


def test_the_rules_quality_is_counted_of_what_both_flows_have_and_verified(
    copy: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in topics.names(TOPIC).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", copy.delta_root)
    monkeypatch.setenv("MILLSTREAM_REDIS_URL", copy.redis_url.get_secret_value())
    servers = copy.kafka["bootstrap.servers"]
    monkeypatch.setenv("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", servers)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["rules", "quality", "--json"])
    printed = json.loads(capsys.readouterr().out)
    root = copy.delta_root
    counts = what_became(root)
    assert sum(each["confirmed"] for each in counts.values())
    told = {each["rule_id"]: {n: each[n] for n in BECAME} for each in printed["rules"]}
    assert told == counts
    name = "gold/rule_quality is what became of the payments that rules hit"
    report = verify(copy)
    assert broken(report) == []
    assert name in [each.name for each in report.checks]
    DeltaTable(f"{root}/gold/rule_quality").update(updates={"confirmed": "confirmed + 1"})
    assert broken(verify(copy)) == [name]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["rules", "quality"])
    assert "frauds" in capsys.readouterr().out
    assert broken(verify(copy)) == []


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


@pytest.fixture
def backtest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Backtest:
    return Backtest(TOPIC, monkeypatch, capsys)


def test_the_live_rules_on_silver_are_the_alerts_that_there_were(
    done: Settings, backtest: Backtest
) -> None:
    found = backtest.json(done.delta_root)
    alerts = pl.read_delta(f"{done.delta_root}/gold/alerts")
    were = dict(alerts.group_by("rule_id").len().iter_rows())
    assert len(were) >= 3
    assert {n: r["alerts"] for n, r in found["rules"].items() if r["alerts"]} == were
    assert found["total"]["alerts"] == alerts["payment_id"].n_unique()
    silver = pl.read_delta(f"{done.delta_root}/silver/payments")
    back = pl.read_delta(f"{done.delta_root}/silver/chargebacks").filter("fraud")
    frauds = silver.filter(pl.col("payment_id").is_in(back["payment_id"].implode()))
    assert found["events"] == silver.height
    assert found["frauds"] == frauds.height > 100
    assert found["days"] == len(found["daily"]) == silver["event_date"].n_unique()
    assert found["total"]["alerts_per_day"] == found["total"]["alerts"] / found["days"]
    assert found["labels"].startswith("silver/chargebacks at version ")
    assert found["live"] is None
    # So are the decisions: as many of each kind as the flow has made, by the same.
    decisions = pl.read_delta(f"{done.delta_root}/gold/decisions")
    decisions_are_those_made(found, decisions, frauds["payment_id"])
    assert found["judged"] == not_known_by_then(silver, back)


def test_a_candidate_on_a_new_feature_is_compared_with_the_live_rules(
    done: Settings, backtest: Backtest, tmp_path: Path
) -> None:
    truth = Path(done.delta_root).parent / "truth.parquet"
    rules = tmp_path / "rules"
    (rules / "features").mkdir(parents=True)
    (rules / "features" / "spent_3d.yaml").write_text(FEATURE)
    (rules / "spender.yaml").write_text(RULE)
    (rules / "decisions").mkdir()
    (rules / "decisions" / "thresholds.yaml").write_text("review: 10\nblock: 70\n")
    page = tmp_path / "page.html"
    days = ("--from", "2018-04-05", "--to", "2018-04-11")
    arguments = ("--rules", rules, "--labels", truth, "--html", page, *days)
    found = backtest.json(done.delta_root, *arguments)

    silver = pl.read_delta(f"{done.delta_root}/silver/payments")
    silver = silver.sort("source_partition", "source_offset")
    inside = pl.col("event_date").is_between(date(2018, 4, 5), date(2018, 4, 11))
    spent = spent_within(timedelta(days=3), silver)
    hit = silver.with_columns(spent=pl.Series(spent)).filter(inside, pl.col("spent") > 60_000)
    assert found["rules"]["spender"]["alerts"] == hit.height > 20
    assert found["days"] == 7
    frauds = pl.read_parquet(truth).filter("is_fraud")["payment_id"].implode()
    assert found["frauds"] == silver.filter(inside, pl.col("payment_id").is_in(frauds)).height
    # Those of before count in what is known by then.
    assert found["judged"] < found["events"]
    alerts = pl.read_delta(f"{done.delta_root}/gold/alerts")
    live = alerts.filter(
        pl.col("payment_id").is_in(silver.filter(inside)["payment_id"].implode())
    )
    assert found["live"]["alerts"] == live["payment_id"].n_unique()
    shared = hit["payment_id"].is_in(live["payment_id"].implode()).sum()
    assert found["total"]["overlap"]["alerts"] == shared
    buckets = found["total"]["changes"]
    for which in ("before", "after"):
        assert sum(each[which]["count"] for each in buckets.values()) == found["judged"]
    # What the candidate decides by thresholds of its own, against what the live rules do.
    decided = found["decisions"]
    assert decided["thresholds"]["block"] == 70
    scores = (hit["spent"] / 1_000).clip(0, 1_000).round(2)
    assert decided["block"]["count"] == (scores >= 70).sum()
    # What an alert advises is a review, however low its score is.
    assert decided["review"]["count"] == (scores < 70).sum()
    assert decided["decided_by"]["rules"] == hit.height
    made = pl.read_delta(f"{done.delta_root}/gold/decisions")
    made = made.filter(
        pl.col("payment_id").is_in(silver.filter(inside)["payment_id"].implode())
    )
    for name in ("review", "block"):
        assert decided["live"][name]["count"] == (made["decision"] == name).sum()
    changes_add_up(decided)
    # Beside the live ones it takes nothing away.
    beside = found["rules"]["spender"]["changes"]
    assert beside["fraud_caught"]["fewer"]["count"] == 0
    assert beside["good_blocked"]["after"]["count"] >= buckets["good_blocked"]["after"]["count"]

    text = page.read_text("utf-8")
    assert text.count("<svg ") == 3
    assert "spender" in text
    # Nothing of it comes from elsewhere.
    assert not re.search(r"https?:|<script|<link|@import|url\(", text)
    shown = backtest(done.delta_root, *arguments)
    assert re.search(r"^spender +[\d.]+ +0\.\d{3} ", shown, re.MULTILINE)
    assert "good blocked" in shown
    for line in ("approved", "reviewed", "blocked", "by rules", "review and block"):
        assert re.search(rf"^{line}  ", shown, re.MULTILINE)
        assert f">{line}<" in text


def test_it_is_of_the_version_that_is_named_and_without_labels_of_volumes(
    copy: Settings, backtest: Backtest, tmp_path: Path
) -> None:
    root = copy.delta_root
    shutil.rmtree(f"{root}/silver/chargebacks")
    table = DeltaTable(f"{root}/silver/payments")
    newest = table.version()
    table.delete("source_offset >= 500")
    whole, less = backtest.json(root, "--version", newest), backtest.json(root)
    assert whole["source"] == f"silver/payments at version {newest}"
    assert less["events"] <= 1_000 < whole["events"]
    assert less["source"] == f"silver/payments at version {newest + 1}"
    assert whole["labels"] is None
    assert set(whole["decisions"]["block"]) == {"count", "per_day"}
    assert "frauds" not in whole
    assert "precision" not in whole["total"]
    page = tmp_path / "page.html"
    shown = backtest(root, "--html", page)
    assert "no labels, so only volumes: --labels FILE with payment_id and is_fraud" in shown
    assert page.read_text("utf-8").count("<svg ") == 1
    told = backtest(root, "--version", newest + 2, status=2)
    assert told == (
        f"millstream: --version {newest + 2}: silver/payments has versions 0 to {newest + 1}\n"
    )
    # What it was before the delete is not there any more.
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    told = backtest(root, "--version", newest, status=1)
    assert f"silver/payments cannot be read at version {newest}; name a later one" in told
    assert "did a vacuum take them?" in told
    assert backtest.json(root, "--version", newest + 1)["events"] == less["events"]
    told = backtest(root, "--from", "2030-01-01", status=1)
    assert "has payments of 2018-04-01 to 2018-04-" in told


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

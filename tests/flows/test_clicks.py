"""The clicks flow whole: the worked example of a declared stream, killed, verified, queried."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from flows import settings as settings_
from flows.streams import CLICKS
from operators.connectors.kafka.client import read_to_end
from operators.rules.cases import run_case
from operators.rules.rules import load_rules
from ops.local import Stack
from ops.query import query
from ops.simulate import DeclaredParams, Troubles, produce, simulate_declared
from ops.topics import create_topic
from ops.verify import verify
from ops.verify.tables import MissingTableError
from tests import topics
from tests.flows.clicks import click
from tests.ops.reports import broken
from tests.running import Flow, run, wait_until

ROOT = Path(__file__).parents[2]
TOLD = "every record is where the simulation's truth has it"
ROUGH = DeclaredParams(
    records=2_000,
    partitions=2,
    keys=17,
    seed=7,
    troubles=Troubles(late=0.02, duplicate=0.03, contract=0.02),
)


CLICKED = """\
name: user_clicks_10m
version: 1
description: Clicks of the user within ten minutes.
by: user_id
horizon: 10m
aggregate: count
where: kind = 'CLICK'
"""


def clicked(silver: pl.DataFrame) -> list[int]:
    """Say of each row of a partition, in order, what the feature above must be."""
    rows, made = silver.to_dicts(), []
    for at, row in enumerate(rows):
        until = row["event_time"]
        since = max(until, row["watermark"] or until) - timedelta(minutes=10)
        past = [
            each
            for each in rows[: at + 1]
            # Itself always: one that is late has lost those before it, not itself.
            if each is row
            or (each["user_id"] == row["user_id"] and since < each["event_time"] <= until)
        ]
        made.append(sum(each["kind"] == "CLICK" for each in past))
    return made


def test_clicks_are_as_exact_as_payments_whatever_is_killed(
    stack: Stack, tmp_path: Path
) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    # With a feature beside the rules, of a stream that declares none.
    rules = Path(shutil.copytree(str(CLICKS.rules), tmp_path / "rules"))
    (rules / "features").mkdir()
    (rules / "features" / "user_clicks_10m.yaml").write_text(CLICKED)
    environ["MILLSTREAM_CLICKS_RULES"] = str(rules)
    settings = settings_.load(environ)
    own = settings.of(CLICKS)
    made = simulate_declared(CLICKS, ROUGH)
    made.truth.write_parquet(tmp_path / "truth.parquet")
    create_topic(stack.bootstrap, own.topic, 2)
    produce(made, stack.bootstrap, own.topic)
    bronze = tmp_path / "tables" / "bronze" / "clicks"
    flow = Flow("clicks", environ | {"MILLSTREAM_BATCH_SIZE": "200"}, tmp_path)
    wait_until((bronze / "_delta_log" / f"{1:020}.json").exists)
    flow.kill()
    run("clicks", environ | topics.TO_THE_END, tmp_path)
    report = verify(settings, tmp_path / "truth.parquet")
    assert broken(report) == []
    assert report.counts["events"] == len(made.records)
    assert report.counts["rejected"] == (made.truth["place"] == "quarantine").sum() > 40
    assert report.counts["duplicates"] == (made.truth["kind"] == "duplicate").sum() > 30
    assert TOLD in [check.name for check in report.checks]

    silver = pl.read_delta(str(tmp_path / "tables" / "silver" / "clicks"))
    for partition in (0, 1):
        mine = silver.filter(source_partition=partition).sort("source_offset")
        assert mine["user_clicks_10m"].to_list() == clicked(mine)
    assert silver["user_clicks_10m"].max() > 3
    costly = silver.filter(pl.col("kind") == "CLICK", pl.col("cost_minor") > 2_000)
    assert report.alerts == {"costly_click": costly.height}
    late = query(
        settings.delta_root,
        "SELECT DISTINCT source_partition, source_offset FROM gold_late_clicks",
    )
    assert late.height > 10
    counted = silver.join(late, on=late.columns, how="anti")
    kinds = dict(counted["kind"].value_counts().iter_rows())
    (totals,) = query(
        settings.delta_root,
        "SELECT sum(impressions) AS i, sum(clicks) AS c, sum(conversions) AS v, "
        "sum(cost_minor) AS cost FROM gold_campaign_5m",
    ).to_dicts()
    assert (totals["i"], totals["c"], totals["v"]) == (
        kinds["IMPRESSION"], kinds["CLICK"], kinds["CONVERSION"]
    )  # fmt: skip
    assert totals["cost"] == counted["cost_minor"].sum()
    for name, expected in (
        (own.alerts_topic, costly.height),
        (own.dlq_topic, report.counts["rejected"]),
    ):
        there = list(read_to_end(settings.kafka, name, {0: 0, 1: 0}))
        assert len(there) == expected
    alerts = read_to_end(settings.kafka, own.alerts_topic, {0: 0, 1: 0})
    assert sorted(alert.key().decode() for alert in alerts) == sorted(costly["user_id"])


def test_what_verify_is_told_of_clicks_it_finds_wrong(stack: Stack, tmp_path: Path) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    settings = settings_.load(environ)
    topic = settings.of(CLICKS).topic
    made = simulate_declared(CLICKS, replace(ROUGH, records=200, partitions=1))
    create_topic(stack.bootstrap, topic, 1)
    produce(made, stack.bootstrap, topic)
    # From a producer that counts in millionths of the currency.
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    producer.produce(topic, click(1, cost_minor=25_000_000))
    assert producer.flush(30) == 0
    run("clicks", environ | topics.TO_THE_END, tmp_path)
    assert broken(verify(settings)) == []
    repaired = query(
        settings.delta_root,
        "SELECT click_id, cost_minor, repairs FROM silver_clicks WHERE repairs IS NOT NULL",
    )
    note = '[{"field":"cost_minor","was":25000000,"by":["unit"]}]'
    assert repaired.rows() == [("click-1", 2_500, note)]
    panes = str(tmp_path / "tables" / "gold" / "campaign_5m")
    rows = pl.read_delta(panes).with_columns(conversions=pl.col("conversions") + 1)
    rows.write_delta(panes, mode="overwrite")
    assert broken(verify(settings)) == ["gold/campaign_5m equals silver's windows, row for row"]

    truth = tmp_path / "truth.parquet"
    elsewhere = pl.when(pl.col("sequence") == 0).then(pl.lit("quarantine")).otherwise("place")
    made.truth.with_columns(place=elsewhere).write_parquet(truth)
    assert TOLD in broken(verify(settings, truth))
    made.truth.with_columns(stream=pl.lit("payments")).write_parquet(truth)
    with pytest.raises(MissingTableError, match="bronze/payments"):
        verify(settings, truth)


@pytest.mark.parametrize("rule", load_rules(CLICKS.rules), ids=lambda rule: rule.id)
def test_every_case_of_every_rule_holds(rule) -> None:
    for case in rule.cases:
        assert run_case(CLICKS.fixture, rule, case) == case.alerts


def test_a_stream_takes_sixty_lines_of_python_at_most() -> None:
    files = [
        ROOT / "flows" / "clicks.py",
        *(ROOT / "flows" / "streams" / "clicks").glob("*.py"),
    ]
    lines = [line for file in files for line in file.read_text().splitlines() if line.strip()]
    # One more line in the catalog's list, and its import.
    assert len(lines) + 2 <= 60

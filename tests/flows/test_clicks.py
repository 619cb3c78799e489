"""The clicks flow whole: the worked example of a declared stream, killed, verified, queried."""

import random
import shutil
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
from ops.topics import create_topic
from ops.verify import verify
from tests import topics
from tests.flows.clicks import click
from tests.ops.reports import broken
from tests.running import Flow, run, wait_until

ROOT = Path(__file__).parents[2]


def records(luck: random.Random) -> list[tuple[int, bytes]]:
    """Return 2,000 clicks and what goes wrong with some, each with its partition."""
    made = [(number % 2, click(number)) for number in range(2_000)]
    made[100] = 0, click(100, kind="CLICK", cost_minor=2_500)
    made[200] = 0, click(200, campaign_id="")
    made[300] = 0, b"\0\0\0\0\x07 of no schema"
    # What comes again comes later.
    for number in sorted(luck.sample(range(2_000), 60), reverse=True):
        made.insert(number + luck.randint(1, 300), made[number])
    return made


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
            if each["user_id"] == row["user_id"] and since < each["event_time"] <= until
        ]
        made.append(sum(each["kind"] == "CLICK" for each in past))
    return made


def test_clicks_are_as_exact_as_payments_whatever_is_killed(
    stack: Stack, tmp_path: Path
) -> None:
    luck, topic = random.Random(7), f"{tmp_path.name}.clicks"
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    # With a feature beside the rules, of a stream that declares none.
    rules = Path(shutil.copytree(str(CLICKS.rules), tmp_path / "rules"))
    (rules / "features").mkdir()
    (rules / "features" / "user_clicks_10m.yaml").write_text(CLICKED)
    environ["MILLSTREAM_CLICKS_RULES"] = str(rules)
    create_topic(stack.bootstrap, topic, 2)
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    sent = records(luck)
    for partition, value in sent:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(20) == 0
    settings = settings_.load(environ)
    bronze = tmp_path / "tables" / "bronze" / "clicks"
    flow = Flow("clicks", environ | {"MILLSTREAM_BATCH_SIZE": "200"}, tmp_path)
    wait_until((bronze / "_delta_log" / f"{1:020}.json").exists)
    flow.kill()
    run("clicks", environ | topics.TO_THE_END, tmp_path)
    report = verify(settings)
    assert broken(report) == []
    assert report.counts["events"] == len(sent)
    assert report.counts["rejected"] >= 2
    assert report.alerts == {"costly_click": 1}

    silver = pl.read_delta(str(tmp_path / "tables" / "silver" / "clicks"))
    for partition in (0, 1):
        mine = silver.filter(source_partition=partition).sort("source_offset")
        assert mine["user_clicks_10m"].to_list() == clicked(mine)
    assert silver["user_clicks_10m"].max() > 3
    kinds = dict(silver["kind"].value_counts().iter_rows())
    late = query(settings.delta_root, "SELECT count(*) AS n FROM gold_late_clicks").item()
    (totals,) = query(
        settings.delta_root,
        "SELECT sum(impressions) AS i, sum(clicks) AS c, sum(conversions) AS v, "
        "sum(cost_minor) AS cost FROM gold_campaign_5m",
    ).to_dicts()
    assert late == 0
    assert (totals["i"], totals["c"], totals["v"]) == (
        kinds["IMPRESSION"], kinds["CLICK"], kinds["CONVERSION"]
    )  # fmt: skip
    assert totals["cost"] == silver["cost_minor"].sum()
    own = settings.of(CLICKS)
    for name, expected in ((own.alerts_topic, 1), (own.dlq_topic, report.counts["rejected"])):
        there = list(read_to_end(settings.kafka, name, {0: 0, 1: 0}))
        assert len(there) == expected
    alert = next(iter(read_to_end(settings.kafka, own.alerts_topic, {0: 0, 1: 0})))
    assert alert.key() == f"user-{100 % 17}".encode()


def test_what_verify_is_told_of_clicks_it_finds_wrong(stack: Stack, tmp_path: Path) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    topic = f"{tmp_path.name}.clicks"
    create_topic(stack.bootstrap, topic, 1)
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for number in range(200):
        producer.produce(topic, click(number), partition=0)
    producer.flush(20)
    run("clicks", environ | topics.TO_THE_END, tmp_path)
    settings = settings_.load(environ)
    assert broken(verify(settings)) == []
    panes = str(tmp_path / "tables" / "gold" / "campaign_5m")
    rows = pl.read_delta(panes).with_columns(conversions=pl.col("conversions") + 1)
    rows.write_delta(panes, mode="overwrite")
    assert broken(verify(settings)) == ["gold/campaign_5m equals silver's windows, row for row"]


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

"""Any stream that has rules can be tested on its history, one without features or money too."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from flows.streams import CLICKS
from ops import cli
from ops.backtest.events import Collected
from ops.backtest.figures import money
from ops.backtest.labels import DAY
from ops.rule_cost import made_up


@pytest.fixture
def silver(tmp_path):
    """A table of clicks in two partitions, over ten days."""
    rows = made_up(CLICKS).head(2_000)
    n = rows.height
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = rows.with_columns(
        source_topic=pl.lit("clicks"),
        source_partition=(pl.int_range(n) % 2).cast(pl.Int32),
        source_offset=pl.int_range(n, dtype=pl.Int64) // 2,
        click_id=pl.format("click-{}", pl.int_range(n)),
        event_time=pl.Series([start + timedelta(minutes=7 * at) for at in range(n)]).cast(
            pl.Datetime("us", "UTC")
        ),
        campaign_id=pl.when(pl.int_range(n) == 700).then(pl.lit("none")).otherwise(pl.lit("7")),
        cost_minor=(pl.int_range(n, dtype=pl.Int64) * 7_919) % 2_000,
    )
    rows.write_delta(str(tmp_path / "silver" / "clicks"))
    return rows


def test_clicks_have_labels_of_a_file_and_no_money(silver, tmp_path, capsys, monkeypatch):
    labels = silver.select("click_id", is_fraud=pl.col("cost_minor") > 1_500)
    labels.write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "dear.yaml").write_text(RULE)
    failing = RULE.replace("dear", "failing").replace("cost_minor > 1000", FAILING)
    (tmp_path / "rules" / "failing.yaml").write_text(failing)
    page = tmp_path / "page.html"
    arguments = ["--root", tmp_path, "--rules", tmp_path / "rules", "--html", page]
    arguments += ["--labels", tmp_path / "labels.parquet"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "backtest", "--stream", "clicks", "--json", *map(str, arguments)])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    found = json.loads(printed.out)
    assert found["events"] == 2_000
    assert found["frauds"] == (silver["cost_minor"] > 1_500).sum()
    dear = found["rules"]["dear"]
    assert (dear["alerts"], dear["failures"]) == ((silver["cost_minor"] > 1_000).sum(), 0)
    # It fails on one click, which would be a reject, and the others count.
    failing = found["rules"]["failing"]
    assert (failing["alerts"], failing["failures"]) == (1_999, 1)
    assert "failing fails on 1 clicks" in page.read_text("utf-8")
    assert found["total"]["money_stopped"] == {}
    assert page.read_text("utf-8").count("<svg ") == 3


@pytest.mark.parametrize("amount", [None, "cost_minor"])
def test_money_without_a_currency_is_one_sum(silver, amount):
    collected = Collected(replace(CLICKS, amount=amount), None)
    assert collected.add(silver, 0, 10**6 * DAY).all()
    events, _ = collected.events()
    sums = {"": silver["cost_minor"].sum()} if amount else {}
    assert money(events, np.ones(silver.height, np.bool_)) == sums


FAILING = "CAST(campaign_id AS BIGINT) > 1"

RULE = """\
id: dear
version: 1
description: Clicks that cost much.
severity: low
when: cost_minor > 1000
score: cost_minor / 10
reason: "{cost_minor}"
cases:
  - name: much
    events:
      - {cost_minor: 1001}
    alerts: [1]
"""

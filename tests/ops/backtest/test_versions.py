"""Figures at a named version stay: what came to be known later changes none of them."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows.streams import CHARGEBACKS, PAYMENTS
from flows.streams.labels import LABELS
from operators.records.tables import Table
from ops.rule_cost import made_up
from tests.ops.backtest.on_silver import Backtest

START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURE = """\
name: terminal_frauds_7d
version: 1
description: Frauds at the terminal.
from: labels
by: terminal_id
horizon: 7d
aggregate: count
where: verdict = 'FRAUD'
"""
RULE = """\
id: terminal
version: 1
description: Frauds have become known at the terminal.
severity: low
when: terminal_frauds_7d >= 1
score: terminal_frauds_7d
reason: "{terminal_frauds_7d}"
cases:
  - name: none
    payments: [{amount_minor: 1}]
    alerts: []
"""


def pay(root: Path, first: int, last: int) -> None:
    """Write payments to silver, ten a day at one terminal."""
    n = last - first
    number = pl.int_range(first, last, eager=True)
    rows = made_up(PAYMENTS).head(n).with_columns(
        source_topic=pl.lit("payments"),
        source_partition=pl.lit(0, pl.Int32),
        source_offset=number,
        payment_id=pl.format("p{}", number),
        terminal_id=pl.lit("t"),
        kafka_timestamp=pl.Series([START + timedelta(hours=2.4 * at) for at in number]),
        event_time=pl.Series([START + timedelta(hours=2.4 * at) for at in number]),
        watermark=pl.lit(None, pl.Datetime("us", "UTC")),
    )  # fmt: skip
    names = [name for name in PAYMENTS.silver.columns if name in rows.columns]
    add(root, PAYMENTS.silver, rows.select(names))


def add(root: Path, table: Table, rows: pl.DataFrame) -> None:
    kinds = {name: table.columns[name] for name in rows.columns}
    write_deltalake(root / table.name, rows.cast(kinds), mode="append")
    # Commits are told apart by the ms.
    time.sleep(0.005)


def charge(root: Path, numbers: range) -> None:
    add(
        root,
        CHARGEBACKS.silver,
        pl.DataFrame(
            {
                "payment_id": [f"p{n}" for n in numbers],
                "event_time": [START + timedelta(hours=2.4 * n + 24) for n in numbers],
                "fraud": [True] * len(numbers),
            }
        ),
    )


@pytest.fixture
def backtest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> Backtest:
    (tmp_path / "rules" / "features").mkdir(parents=True)
    (tmp_path / "rules" / "terminal.yaml").write_text(RULE)
    (tmp_path / "rules" / "features" / "terminal_frauds_7d.yaml").write_text(FEATURE)
    return Backtest("payments", monkeypatch, capsys)


def test_what_came_to_be_known_later_changes_no_figure(
    backtest: Backtest, tmp_path: Path
) -> None:
    root = str(tmp_path)

    def figures(*arguments: object) -> dict[str, Any]:
        found = backtest.json(root, "--rules", tmp_path / "rules", *arguments)
        return {name: each for name, each in found.items() if name != "seconds"}

    pay(tmp_path, 0, 100)
    charge(tmp_path, range(0, 100, 10))
    pay(tmp_path, 100, 120)
    before = figures("--version", 1)
    assert before["frauds"] == 10
    assert before["labels"].startswith("silver/chargebacks at version 0, the last of ")
    assert before["rules"]["terminal"]["alerts"] > 50
    assert figures()["frauds"] == 10

    charge(tmp_path, range(5, 100, 10))
    paid_at = [START, START + timedelta(days=1)]
    labels = pl.DataFrame(
        {"source_topic": "labels", "source_partition": [0, 0], "source_offset": [0, 1],
         "payment_id": ["p1", "p9"], "terminal_id": ["t", "t"], "verdict": ["FRAUD", "GENUINE"],
         "event_time": paid_at, "watermark": [None, paid_at[0]], "woken_at": [None, None]}
    )  # fmt: skip
    add(tmp_path, LABELS.silver, labels)
    pay(tmp_path, 120, 130)
    assert figures("--version", 1) == before
    now = figures()
    # One that was not charged back is labelled a fraud; of each other what was charged back counts.
    assert (now["frauds"], now["events"]) == (21, 130)
    assert now["labels"].startswith("silver/labels at version 0, the last of 2026-01-02, else ")
    assert now["rules"]["terminal"]["alerts"] != before["rules"]["terminal"]["alerts"]
    # Named, what is known of it by now counts.
    named = figures("--version", 1, "--labels-version", 1)
    assert (named["frauds"], named["events"]) == (20, 120)
    assert figures("--labels-version", 0)["frauds"] == 11
    # Before there were any nothing was known.
    first = figures("--version", 0)
    assert first["labels"] is None
    assert first["notes"][0] == (
        "silver/chargebacks was not there when silver had that version: --labels-version names "
        "a version of it"
    )
    told = backtest(root, "--labels-version", 2, status=2)
    assert told == ("millstream: --labels-version 2: silver/chargebacks has versions 0 to 1\n")
    told = backtest(root, "--labels-version", 0, "--labels", __file__, status=2)
    assert "--labels-version is of chargebacks: --input and --labels are files" in told


def test_a_log_that_does_not_go_back_so_far_is_said(backtest: Backtest, tmp_path: Path) -> None:
    root = str(tmp_path)
    charge(tmp_path, range(0, 100, 10))
    pay(tmp_path, 0, 100)
    charge(tmp_path, range(5, 100, 10))
    DeltaTable(tmp_path / "silver/chargebacks").create_checkpoint()
    (tmp_path / "silver/chargebacks/_delta_log" / f"{0:020}.json").unlink()
    told = backtest(root, "--version", 0, status=2)
    assert "silver/chargebacks cannot be read as of " in told
    assert "its log begins with version 1): --labels-version names a version of it" in told
    named = backtest.json(root, "--version", 0, "--labels-version", 1)
    assert named["frauds"] == 20

"""The command on a file of recorded payments: a small one, and the public data set's."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.streams import PAYMENTS
from ops import cli

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "card-transactions-2018-q2.parquet"
START = datetime(2018, 4, 1)  # noqa: DTZ001 # as the public file has it

RULE = """\
id: dear
version: 3
description: More than the card has paid within a day, itself aside.
severity: low
when: amount_minor > 9000
score: 1 + card_count_24h % 3
reason: "{amount_minor}"
cases:
  - name: much
    payments:
      - {amount_minor: 9001}
    alerts: [1]
"""


def backtest(capsys: Any, *arguments: object) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "backtest", "--json", *map(str, arguments)])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return json.loads(printed.out)


@pytest.fixture
def payments(tmp_path: Path) -> pl.DataFrame:
    """Three weeks of payments of few cards."""
    luck, n = np.random.default_rng(3), 3_000
    seconds = np.sort(luck.integers(0, 21 * 86_400, n))
    cents = luck.integers(-20, 24_000, n)
    return pl.DataFrame(
        {
            "transaction_id": [*range(n - 1), 0],
            "event_time": [START + timedelta(seconds=int(s)) for s in seconds],
            "customer_id": luck.integers(0, 200, n),
            "terminal_id": luck.integers(0, 9, n),
            "amount": cents / 100,
            "is_fraud": luck.random(n) < np.where(cents > 15_000, 0.1, 0.004),
        }
    )


def test_all_figures_are_those_of_the_payments_one_by_one(payments, tmp_path, capsys):
    payments.write_parquet(tmp_path / "file.parquet")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "dear.yaml").write_text(RULE)
    found = backtest(
        capsys, "--input", tmp_path / "file.parquet", "--rules", tmp_path / "rules",
        "--from", "2018-04-11", "--to", "2018-04-20",
    )  # fmt: skip
    # An id that comes again does so three weeks later, which is no duplicate.
    refused = payments.filter(pl.col("amount") < 0).height
    assert refused
    assert found["notes"] == [f"{refused} payments left out, as the contract refuses them"]
    rows = [
        (time, (time - START).days, card, round(amount * 100), fraud)
        for _, time, card, _, amount, fraud in payments.rows()
        if amount >= 0
    ]
    inside = [row for row in rows if 10 <= row[1] <= 19]
    hit = [row for row in inside if row[3] > 9_000]
    # With labels 7 days late a card's fraud of a day is known in the night after the 7th. Those
    # count that became known in the week before the block, which begins on day 10 or 17, or since.
    judged = [
        row
        for row in inside
        if not any(
            r[4] and r[2] == row[2] and (3 if row[1] < 17 else 10) <= r[1] + 7 < row[1]
            for r in rows
        )
    ]
    alerts = [row for row in judged if row in hit]
    right = [row for row in alerts if row[4]]
    frauds = [row for row in judged if row[4]]
    assert len(judged) < len(inside)
    assert (found["events"], found["days"], found["judged"]) == (len(inside), 10, len(judged))
    total = found["total"]
    assert found["rules"]["dear"]["version"] == 3
    assert total["alerts_per_day"] == len(hit) / 10
    assert total["precision"] == len(right) / len(alerts)
    assert total["recall"] == len(right) / len(frauds)
    assert total["money_stopped"] == {"EUR": sum(row[3] for row in right)}

    def score(row: tuple) -> int:
        """What the rule says, of the card's payments within a day, -1 if it is silent."""
        day = [r for r in rows if r[2] == row[2] and timedelta() <= row[0] - r[0]]
        count = sum(row[0] - r[0] <= timedelta(days=1) for r in day)
        return 1 + count % 3 if row[3] > 9_000 else -1

    scores = {row: score(row) for row in judged}
    pairs = [
        (scores[fraud] > scores[good]) + (scores[fraud] == scores[good]) / 2
        for fraud in frauds
        for good in judged
        if not good[4]
    ]
    assert total["auc_roc"] == pytest.approx(sum(pairs) / len(pairs))
    precisions, before = 0.0, 0
    for threshold in (3, 2, 1, -1):
        taken = [row for row in judged if scores[row] >= threshold]
        caught = sum(row[4] for row in taken)
        precisions += (caught - before) / len(frauds) * caught / len(taken)
        before = caught
    assert total["average_precision"] == pytest.approx(precisions)
    (week,) = found["weeks"]
    assert (week["from"], week["to"]) == ("2018-04-11", "2018-04-17")


def test_labels_of_a_file_may_be_missing(payments, tmp_path, capsys):
    payments.drop("is_fraud").write_parquet(tmp_path / "file.parquet")
    labels = payments.select(
        pl.col("transaction_id").cast(pl.String).alias("payment_id"), "is_fraud"
    )
    labels.head(1_000).write_parquet(tmp_path / "labels.parquet")
    live = "--rules", PAYMENTS.rules
    without = backtest(capsys, "--input", tmp_path / "file.parquet", *live)
    assert without["labels"] is None
    assert without["notes"][-1].startswith("no labels, so only volumes: --labels FILE")
    found = backtest(
        capsys,
        "--input",
        tmp_path / "file.parquet",
        "--labels",
        tmp_path / "labels.parquet",
        *live,
    )
    assert found["labels"] == str(tmp_path / "labels.parquet")
    assert found["total"]["alerts"] == without["total"]["alerts"]
    good = payments["amount"] >= 0
    assert found["unlabelled"] == good[1_000:].sum() - (1 if good[-1] else 0)


# It is no part of the project: a clone has it only if somebody put it there.
@pytest.mark.skipif(not PUBLIC.exists(), reason=f"the public data set is not at {PUBLIC}")
def test_the_public_data_set_in_june_by_the_handbooks_protocol(capsys):
    found = backtest(capsys, "--input", PUBLIC, "--from", "2018-06-01", "--to", "2018-06-30")
    frame = pl.read_parquet(PUBLIC).with_columns(day=pl.col("event_time").dt.date())
    weeks = [_test_set(frame, date(2018, 6, 1) + timedelta(days=at)) for at in range(0, 30, 7)]
    june, test = frame.filter(pl.col("event_time").dt.month() == 6), pl.concat(weeks)
    test = test.filter(pl.col("event_time").dt.month() == 6)
    assert (found["events"], found["judged"]) == (june.height, test.height)
    assert found["judged_frauds"] == test["is_fraud"].sum() > 1_000
    # In this simulation all that is over 220 is fraud.
    caught = test.filter(pl.col("amount") > 220)
    assert caught["is_fraud"].all()
    rule, recall = found["rules"]["amount_limit"], caught.height / test["is_fraud"].sum()
    base = test["is_fraud"].mean()
    assert rule["alerts"] == (june["amount"] > 220).sum()
    assert rule["precision"] == 1
    assert rule["recall"] == pytest.approx(recall)
    assert rule["auc_roc"] == pytest.approx(0.5 + recall / 2)
    assert rule["average_precision"] == pytest.approx(recall + (1 - recall) * base)
    # A card that was found once is not looked for again in its week.
    week = (pl.col("day") - date(2018, 6, 1)).dt.total_days() // 7
    cards = caught.select(week.alias("week"), "customer_id").unique().height
    assert rule["card_precision_100"] == pytest.approx(cards / 100 / 30)
    assert [week["from"][5:] for week in found["weeks"]] == ["06-01", "06-08", "06-15", "06-22"]
    # What the drafts and their model, which knows April and May, are to come to in all.
    assert found["total"]["average_precision"] >= 0.75
    assert found["total"]["auc_roc"] >= 0.89
    assert found["total"]["card_precision_100"] >= 0.305
    assert found["rules_alone"]["average_precision"] >= 0.70
    assert found["model"]["unscored"] == 0


def _test_set(frame: pl.DataFrame, first: date) -> pl.DataFrame:
    """Return the handbook's test set of a week: its `get_train_test_set` with 7 days of each."""
    days = [first + timedelta(days=at) for at in range(7)]
    fraud = frame.filter("is_fraud")

    def cards(since: date, until: date) -> set:
        inside = (pl.col("day") >= since) & (pl.col("day") < until)
        return set(fraud.filter(inside)["customer_id"])

    known = cards(first - timedelta(days=14), first - timedelta(days=7))
    found = []
    for day in days:
        known |= cards(day - timedelta(days=8), day - timedelta(days=7))
        today = frame.filter(pl.col("day") == day)
        found.append(today.filter(~pl.col("customer_id").is_in(list(known))))
    return pl.concat(found)

"""What rules and decisions come to, by loops over the tables of flows."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from operators.decisions.words import LEVELS

BECAME = ("hits", "open", "confirmed", "false_hits")


def what_became(root: str) -> dict[str, dict[str, int]]:
    """Return by rule how many alerts there are, and how many of each their payments became."""
    outcomes = pl.read_delta(f"{root}/gold/payment_outcomes")
    became: dict[str, bool] = {}
    for name, fraud in outcomes.select("payment_id", "chargeback_fraud").iter_rows():
        became[name] = became.get(name, False) or bool(fraud)
    counts: dict[str, Counter[str]] = {}
    for rule, name in (
        pl.read_delta(f"{root}/gold/alerts").select("rule_id", "payment_id").rows()
    ):
        mine = counts.setdefault(rule, Counter())
        mine["hits"] += 1
        mine[{None: "open", True: "confirmed", False: "false_hits"}[became.get(name)]] += 1
    return {rule: {name: each[name] for name in BECAME} for rule, each in counts.items()}


def spent_within(horizon: timedelta, silver: pl.DataFrame) -> list[int]:
    """Return what each payment's card spent by then, in the order of arrival, late or not."""
    cards: dict[str, list[tuple[datetime, int]]] = {}
    spent = []
    for card, time, amount in silver.select("card_id", "event_time", "amount_minor").rows():
        past = cards.setdefault(card, [])
        past.append((time, amount))
        spent.append(sum(a for t, a in past if time - horizon <= t <= time))
    return spent


def not_known_by_then(silver: pl.DataFrame, frauds: pl.DataFrame) -> int:
    """Count payments of cards not known: they are from the day after their first fraud's on."""
    known = frauds.join(silver.select("payment_id", card="card_id"), on="payment_id")
    known = known.group_by("card").agg(pl.col("event_time").dt.date().min().alias("since"))
    since = silver.join(known, left_on="card_id", right_on="card", how="left")["since"]
    return int((~(since < silver["event_date"]).fill_null(False)).sum())


def changes_add_up(decided: dict[str, Any]) -> None:
    """Fail where what a candidate would change is not the sums of both sides' decisions."""
    for least in ("review", "block"):
        four = decided["changes"][least]
        for which, of in (("before", decided["live"]), ("after", decided)):
            stops = ["block"] if least == "block" else ["block", "review"]
            caught = sum(of[name]["frauds"] for name in stops)
            assert four["fraud_caught"][which]["count"] == caught
            blocked = sum(of[name]["good"] for name in stops)
            assert four["good_blocked"][which]["count"] == blocked
            passed = sum(of[name]["good"] for name in LEVELS if name not in stops)
            assert four["good_passed"][which]["count"] == passed


def decisions_are_those_made(
    found: dict[str, Any], decisions: pl.DataFrame, frauds: pl.Series
) -> None:
    """Fail where a backtest of the live rules decides otherwise than the flow did.

    `frauds` are the ids of payments that were fraud.
    """
    made = found["decisions"]
    there = Counter(decisions["decision"].to_list())
    assert there["review"] > 0 < there["block"]
    for name in ("review", "block"):
        assert made[name]["count"] == there[name]
        assert made[name]["per_day"] == there[name] / found["days"]
    assert made["approve"]["count"] == found["events"] - there["review"] - there["block"]
    were_by = Counter(decisions["decided_by"].to_list())
    assert made["decided_by"] == {
        name: were_by[name] for name in ("allow list", "block list", "rules", "model")
    }
    assert made["thresholds"]["review"] == decisions["review_at"][0]
    fraudulent = decisions.filter(pl.col("payment_id").is_in(frauds.implode()))
    for name in ("review", "block"):
        assert made[name]["frauds"] <= (fraudulent["decision"] == name).sum()
    assert made["review"]["frauds"] > 0
    judged = sum(made[name][of] for name in LEVELS for of in ("frauds", "good"))
    assert judged == found["judged"]
    assert made["live"] is None

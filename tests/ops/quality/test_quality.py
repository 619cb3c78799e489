"""What is counted of rules, against a loop over all alerts and labels."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows.streams import PAYMENTS
from flows.streams.chargebacks import outcome_tables
from flows.streams.labels import LABELS
from operators.records.tables import COORDINATES, Table
from ops.quality.cli import Rates, summed
from ops.quality.count import COUNTS, QUALITY, genuine_since, unknown_payments
from ops.quality.table import QualityError, bring_up, counted_of
from ops.verify.quality import check_quality

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OUTCOMES = outcome_tables()[1]


def add(root: Path, table: Table, rows: list[dict]) -> None:
    known = {name: kind for name, kind in table.columns.items() if name in rows[0]}
    write_deltalake(root / table.name, pl.DataFrame(rows, known), mode="append")


def place(offset: int) -> dict:
    return dict(zip(COORDINATES, ("payments", offset % 3, offset), strict=True))


class World:
    """Payments, what rules found on them, and what has become known, in lists and in tables."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng = root, random.Random(7)
        self.payments: list[dict] = []
        self.alerts: list[dict] = []
        self.labels: list[dict] = []
        self.outcomes: list[dict] = []

    def pay(self, number: int) -> None:
        first = len(self.payments)
        paid = [
            {**place(n), "payment_id": f"p{n}", "amount_minor": 100 + n,
             "event_date": (NOON + timedelta(hours=7 * n)).date()}
            for n in range(first, first + number)
        ]  # fmt: skip
        found = [
            {**place(int(paid_["source_offset"])), "payment_id": paid_["payment_id"],
             "rule_id": rule, "rule_version": 1 + (rule == "b" and first > 0),
             "rule_status": self.rng.choice(["live", "shadow", None])}
            for paid_ in paid
            for rule in "abc"
            if self.rng.random() < 0.5
        ]  # fmt: skip
        self.payments += paid
        self.alerts += found
        add(self.root, PAYMENTS.silver, paid)
        add(self.root, PAYMENTS.alerts, found)

    def label(self, number: int) -> None:
        first = len(self.labels)
        said = [
            {**place(first + n), "label_id": f"l{first + n}",
             "payment_id": self.rng.choice(self.payments)["payment_id"],
             "event_time": NOON + timedelta(days=self.rng.randrange(4)),
             "verdict": self.rng.choice(["FRAUD", "GENUINE"])}
            for n in range(number)
        ]  # fmt: skip
        self.labels += said
        add(self.root, LABELS.silver, said)

    def settle(self, number: int) -> None:
        said = [
            {"payment_id": self.rng.choice(self.payments)["payment_id"],
             "chargeback_fraud": self.rng.choice([True, False, None])}
            for _ in range(number)
        ]  # fmt: skip
        self.outcomes += said
        add(self.root, OUTCOMES, said)

    def verdict(self, payment: str) -> bool | None:
        mine = [each for each in self.labels if each["payment_id"] == payment]
        if mine:
            places = ("event_time", "source_partition", "source_offset")
            newest = max(mine, key=lambda each: [each[name] for name in places])
            return newest["verdict"] == "FRAUD"
        settled = [each for each in self.outcomes if each["payment_id"] == payment]
        return any(each["chargeback_fraud"] for each in settled) if settled else None

    def counted(self) -> dict[tuple, dict[str, int]]:
        """Count one alert at a time."""
        paid = {each["payment_id"]: each for each in self.payments}
        found: dict[tuple, Counter] = {}
        for alert in self.alerts:
            payment = paid[alert["payment_id"]]
            verdict, amount = self.verdict(alert["payment_id"]), payment["amount_minor"]
            key = alert["rule_id"], alert["rule_version"], payment["event_date"]
            counts = found.setdefault(key, Counter(dict.fromkeys(COUNTS, 0)))
            counts["hits"] += 1
            counts["live_hits"] += alert["rule_status"] != "shadow"
            counts["amount_minor"] += amount
            counts["open"] += verdict is None
            counts["confirmed"] += verdict is True
            counts["false_hits"] += verdict is False
            counts["amount_minor_confirmed"] += amount * (verdict is True)
            counts["amount_minor_false"] += amount * (verdict is False)
        return {key: dict(counts) for key, counts in found.items()}


def by_key(rows: pl.DataFrame) -> dict[tuple, dict[str, int]]:
    return {
        (row.pop("rule_id"), row.pop("rule_version"), row.pop("day")): row
        for row in rows.select("rule_id", "rule_version", "day", *COUNTS).to_dicts()
    }


def test_the_newest_revisions_are_what_is_known_as_labels_come_and_are_revoked(
    tmp_path: Path,
) -> None:
    root, world = str(tmp_path), World(tmp_path)
    with pytest.raises(QualityError, match=r"no table gold/alerts and no silver/payments"):
        bring_up(root)
    world.pay(60)
    rows, versions = bring_up(root)
    assert by_key(rows) == world.counted()
    assert set(rows["revision"]) == {0}
    assert rows["open"].equals(rows["hits"])
    table = tmp_path / QUALITY.name
    steps = (
        lambda: world.settle(20), lambda: world.label(25), lambda: world.pay(30),
        lambda: world.label(60),
    )  # fmt: skip
    for number, step in enumerate(steps, 1):
        step()
        before = by_key(rows), dict(zip(by_key(rows), rows["revision"], strict=True))
        rows, versions = bring_up(root, versions)
        now = by_key(rows)
        assert now == world.counted()
        # Only what has changed has a further revision.
        for key, revision in zip(now, rows["revision"], strict=True):
            moved = now[key] != before[0].get(key)
            assert revision == before[1].get(key, -1) + moved
        assert DeltaTable(table).version() == number + 1
        assert [each.ok for each in check_quality(root)] == [True]
    # Known already, and nothing new: nothing is written.
    again, same = bring_up(root, versions)
    assert (again.equals(rows), same) == (True, versions)
    assert bring_up(root)[0].equals(rows)
    assert DeltaTable(table).version() == len(steps) + 1

    # What was counted stands also where the tables have gone on.
    world.label(5)
    (check,) = check_quality(root)
    assert (check.ok, check.compared) == (True, rows.height)
    spoilt = rows[:1].with_columns(pl.lit(9, pl.Int32).alias("revision"), pl.col("hits") + 1)
    write_deltalake(table, spoilt, mode="append", schema_mode="merge")
    (check,) = check_quality(root)
    assert (check.ok, check.offending) == (False, 2)


def test_rates_are_sums_of_the_last_days(tmp_path: Path) -> None:
    root, world = str(tmp_path), World(tmp_path)
    world.pay(40)
    world.label(60)
    world.settle(30)
    rows, _ = bring_up(root)
    shown = summed(rows, 5, root)
    last = max(key[2] for key in world.counted())
    mine = [
        counts for (rule, _, day), counts in world.counted().items()
        if rule == "a" and day > last - timedelta(days=5)
    ]  # fmt: skip
    frauds, wrong = (sum(each[name] for each in mine) for name in ("confirmed", "false_hits"))
    paid = [each for each in world.payments if each["event_date"] > last - timedelta(days=5)]
    genuine = sum(world.verdict(each["payment_id"]) is False for each in paid)
    # Some are open, and some that are genuine no rule has hit.
    assert wrong < genuine < len(paid)
    row = shown.row(by_predicate=pl.col("rule_id") == "a", named=True)
    assert row["fraud_rate"] == pytest.approx(frauds / (frauds + wrong))
    assert row["false_positive_rate"] == pytest.approx(wrong / genuine)
    rates = Rates()
    rates.tell(shown, 7)
    labels = {"rule": "a", "version": "1"}
    for name in ("fraud_rate", "false_positive_rate"):
        value = rates.registry.get_sample_value(f"millstream_rule_{name}", labels)
        assert value == pytest.approx(row[name])
    assert rates.registry.get_sample_value("millstream_rule_open_hits", labels) == row["open"]
    assert rates.registry.get_sample_value("millstream_labels_of_unknown_payments") == 7
    # Of rules that are gone nothing is told on.
    rates.tell(shown.clear(), None)
    assert rates.registry.get_sample_value("millstream_rule_open_hits", labels) is None
    assert counted_of(root) is not None


@pytest.mark.parametrize("known", ["labels", "outcomes", "both", "none"])
def test_genuine_payments_are_known_by_either_table_or_both(tmp_path: Path, known: str) -> None:
    root, world = str(tmp_path), World(tmp_path)
    world.pay(50)
    if known in ("labels", "both"):
        world.label(40)
    if known in ("outcomes", "both"):
        world.settle(40)
    genuine = sum(world.verdict(each["payment_id"]) is False for each in world.payments)
    assert genuine_since(root, NOON.date() - timedelta(days=1)) == genuine
    assert (genuine > 0) == (known != "none")
    late = NOON.date() + timedelta(days=3)
    mine = [each for each in world.payments if each["event_date"] > late]
    genuine = sum(world.verdict(each["payment_id"]) is False for each in mine)
    assert genuine_since(root, late) == genuine


def test_payments_that_only_labels_know_are_counted_once_each(tmp_path: Path) -> None:
    root, world = str(tmp_path), World(tmp_path)
    assert unknown_payments(root) is None
    world.pay(10)
    assert unknown_payments(root) is None
    world.label(20)
    assert unknown_payments(root) == 0
    add(
        tmp_path,
        LABELS.silver,
        [
            {**place(100 + n), "label_id": f"u{n}", "payment_id": f"unknown-{n % 3}",
             "event_time": NOON, "verdict": "FRAUD"}
            for n in range(5)
        ],
    )  # fmt: skip
    assert unknown_payments(root) == 3
    # One of them came late.
    late = {"payment_id": "unknown-1", "amount_minor": 5, "event_date": NOON.date()}
    add(tmp_path, PAYMENTS.silver, [{**place(99), **late}])
    assert unknown_payments(root) == 2

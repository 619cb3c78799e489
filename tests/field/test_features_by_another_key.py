"""Features by terminal in a topic keyed by card: exact, whatever happens to the flow."""

import json
import math
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows import settings as settings_
from flows.connecting import rules_of
from flows.streams import PAYMENTS
from ops.backtest.past import past_of_silver
from ops.backtest.run import Side
from ops.backtest.run import run as backtest
from ops.verify import verify
from tests.compare import read_topic
from tests.field.topic import NOON, Field, payment
from tests.ops.reports import broken
from tests.running import Flow, wait_until

PARTITIONS = 3
LAG = timedelta(seconds=90)

DISTINCT = """\
name: terminal_cards_1h
version: 1
description: Cards that paid at the terminal.
by: terminal_id
horizon: 1h
aggregate: distinct
of: card_id
"""
MEAN = """\
name: customer_mean_10m
version: 1
description: What the customer's large payments with all cards come to.
by: customer_id
horizon: 10m
aggregate: mean
of: amount_minor
where: amount_minor > 1100
"""
RULE = """\
id: crowd
version: 1
description: Many cards at one terminal.
severity: high
when: terminal_cards_1h >= 5
score: "50"
reason: "{terminal_cards_1h} cards"
cases:
  - name: the panes of five minutes that are closed
    payments:
      - {after: 0m, card_id: a}
      - {after: 1m, card_id: b}
      - {after: 2m, card_id: c}
      - {after: 3m, card_id: d}
      - {after: 4m, card_id: e}
      - {after: 5m, card_id: f}
      - {after: 6m30s, card_id: g}
    alerts: [7]
"""


OTHER = """\
id: other
version: 1
description: What needs no feature.
severity: low
when: amount_minor > 9000
score: "1"
reason: "much"
cases:
  - name: much
    payments: [{amount_minor: 9001}]
    alerts: [1]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "terminal_cards_1h.yaml").write_text(DISTINCT)
    (folder / "crowd.yaml").write_text(RULE)
    return folder


def made(first: int, last: int, luck: random.Random) -> dict[int, list[bytes]]:
    """Return payments by partition: some out of order, some late, a few seconds apart."""
    found: dict[int, list[bytes]] = {p: [] for p in range(PARTITIONS)}
    for number in range(first, last):
        card = luck.randrange(60)
        late = luck.choice([0, 0, 0, 5, 20, 400])
        fields = {
            "event_time": NOON + timedelta(seconds=4 * number - luck.uniform(0, 1) * late),
            "card_id": f"card-{card}",
            "customer_id": f"customer-{card % 7}",
            "terminal_id": f"terminal-{luck.randrange(20)}",
            "amount_minor": luck.randrange(1_000, 1_300),
        }
        found[card % PARTITIONS].append(payment(number, **fields))
    return found


def send(field: Field, payments: dict[int, list[bytes]]) -> None:
    for partition, values in payments.items():
        field.send(*values, partition=partition)


def down(time: datetime, pane: timedelta) -> datetime:
    return time - (time - NOON) % pane


def those_that_count(silver: list[dict], row: dict, key: str, horizon: int, pane: int):
    """Yield the payments that count for another: by silver alone."""
    step = timedelta(minutes=pane)
    end = down(row["event_time"] - LAG, step)
    begin = end - timedelta(minutes=horizon)
    mark = row["woken_at"] or row["watermark"]
    if mark is not None:
        begin = max(begin, down(mark - LAG, step) - timedelta(minutes=horizon))
    for other in silver:
        start = down(other["event_time"], step)
        known = other["woken_at"] or other["watermark"]
        counts = known is None or start + step > known
        if other[key] == row[key] and begin <= start < end and counts:
            yield other


def wrong(silver: pl.DataFrame) -> list[tuple]:
    """Return the payments whose features are not what a loop over silver makes them."""
    rows = silver.to_dicts()
    found = []
    for row in rows:
        near = those_that_count(rows, row, "terminal_id", 60, 5)
        cards = len({each["card_id"] for each in near})
        near = those_that_count(rows, row, "customer_id", 10, 1)
        large = [each["amount_minor"] for each in near if each["amount_minor"] > 1_100]
        mean = sum(large) / len(large) if large else None
        stored = row["terminal_cards_1h"], row.get("customer_mean_10m", mean)
        if stored[0] != cards or not math.isclose(stored[1] or 0, mean or 0):
            found.append((row["source_partition"], row["source_offset"], stored, cards, mean))
    return found


def test_two_workers_and_a_kill_change_nothing_and_nobody_waits_longer_than_is_said(
    local: Field, rules: Path
) -> None:
    luck = random.Random(3)
    (rules / "features" / "customer_mean_10m.yaml").write_text(MEAN)
    local.settings |= {
        "MILLSTREAM_RULES": str(rules),
        "MILLSTREAM_BATCH_SIZE": "50",
        "MILLSTREAM_IDLE_TIMEOUT": "3s",
    }
    local.create(PARTITIONS)
    workers = "-w", "2"

    def rows() -> int:
        there = local.folder / "tables" / "silver" / "payments" / "_delta_log"
        return local.table("silver/payments").height if there.exists() else 0

    send(local, made(0, 500, luck))
    flow = local.flow("payments", "state", *workers)
    wait_until(lambda: rows() > 0)
    send(local, made(500, 1_000, luck))
    flow.kill()
    # One partition sleeps; what the others have does not wait for it.
    asleep = made(1_000, 1_400, luck)
    behind = {0: asleep.pop(0)}
    send(local, asleep)
    flow = local.flow("payments", "state", *workers)
    wait_until(lambda: rows() == 1_000 + sum(map(len, asleep.values())))
    # It wakes up: some of what it has comes too late for panes that were closed without it.
    send(local, behind)
    wait_until(lambda: rows() == 1_400)
    flow.kill()
    flow = local.flow("payments", "state", *workers, STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()

    silver = local.table("silver/payments")
    assert silver.height == 1_400
    assert silver["woken_at"].is_not_null().any()
    assert silver["terminal_cards_1h"].max() >= 5
    assert wrong(silver) == []
    alerts = local.table("gold/alerts")
    assert alerts.height == silver.filter(pl.col("terminal_cards_1h") >= 5).height
    settings = settings_.load(local.settings)
    assert broken(verify(settings)) == []
    # History has what was decided then: a backtest finds what the flow has found.
    stream = settings.stream(PAYMENTS)
    side = Side(stream, rules_of(stream, settings))
    past = past_of_silver(settings.delta_root, stream, local.topic, None)
    outcome = backtest(past, [side], None, 30_000_000, 0, 2**62)
    assert len(outcome.hits[0]["crowd"].rows) == alerts.height
    assert len(outcome.events.day) == 1_400


@pytest.mark.slow
def test_one_that_is_added_and_taken_away_and_a_state_that_is_lost(
    local: Field, rules: Path
) -> None:
    luck = random.Random(4)
    feature, rule = rules / "features" / "terminal_cards_1h.yaml", rules / "crowd.yaml"
    feature.unlink()
    rule.rename(rules / "other.yaml").write_text(OTHER)
    local.settings |= {
        "MILLSTREAM_RULES": str(rules),
        "MILLSTREAM_STOP_AT_END": "true",
    }
    local.create(PARTITIONS)

    def run(*, crash: bool = False) -> str:
        at = "operators.connectors.delta.writer.sync_commit:kill" if crash else ""
        flow = Flow("payments", local.settings, local.folder / "state", at=at)
        assert (flow.wait() != 0) == crash, flow.said()
        assert "Traceback" not in flow.said()
        return flow.said().rpartition("flow of Millstream")[2]

    def not_compared() -> dict[str, int]:
        report = verify(settings_.load(local.settings))
        assert broken(report) == []
        return {check.name: check.deleted for check in report.checks if check.deleted}

    send(local, made(0, 400, luck))
    run()
    assert "woken_at" not in local.table("silver/payments").columns
    feature.write_text(DISTINCT)
    rule.write_text(RULE)
    send(local, made(400, 700, luck))
    said = run()
    assert "feature terminal_cards_1h by another key of payments is new" in said
    assert "state is made anew" in said
    older = pl.col("terminal_cards_1h").is_null()
    silver = local.table("silver/payments")
    assert silver.filter(older).height == 400
    assert {(p, o) for p, o, *_ in wrong(silver)} == {
        (p, o) for p, o in silver.filter(older)["source_partition", "source_offset"].rows()
    }
    name = "silver/payments' features are what the payments before make them"
    assert not_compared()[name] > 0

    # Some tables have the epoch that the kill ends, and no store is left to say which.
    send(local, made(700, 1_000, luck))
    run(crash=True)
    shutil.rmtree(local.folder / "state" / "payments")
    run()
    silver = local.table("silver/payments")
    assert silver.height == 1_000
    assert len(wrong(silver)) == 400
    # The epoch that the tables may lack was made again, as if there had always been the feature.
    alerts = local.table("gold/alerts").join(
        silver.filter(~older), on=["source_partition", "source_offset"], how="semi"
    )
    assert alerts.height == silver.filter(pl.col("terminal_cards_1h") >= 5).height
    assert not_compared()[name] > 0
    # The flow that sends alerts alone reads the topic by itself, and comes to the same.
    alone = {"ALERTS_TOPIC": f"{local.topic}.alone"}
    alone |= {"DECISIONS_TOPIC": f"{local.topic}.alone.decisions"}
    assert local.flow("alerts", **alone).wait() == 0
    sent = read_topic(settings_.load(local.settings), alone["ALERTS_TOPIC"])["value"]
    ids = {json.loads(value)["alert_id"] for value in sent}
    assert set(alerts["alert_id"]) <= ids
    # What it holds is nowhere else.
    feature.write_text(
        DISTINCT.replace("1h\n", "2h\n", 1).replace("horizon: 1h", "horizon: 2h")
    )
    feature.rename(rules / "features" / "terminal_cards_2h.yaml")
    rule.write_text(RULE.replace("1h", "2h").replace("version: 1", "version: 2"))
    flow = local.flow("alerts", **alone)
    assert flow.wait() == 1
    (line,) = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    assert "feature terminal_cards_2h by another key of payments is new" in line
    assert "empty recovery directory" in line

    (rules / "features" / "terminal_cards_2h.yaml").unlink()
    rule.unlink()
    send(local, made(1_000, 1_010, luck))
    assert "feature terminal_cards_1h by another key of payments is gone" in run()
    silver = local.table("silver/payments")
    assert silver.filter(older).height == 410
    assert name not in not_compared()

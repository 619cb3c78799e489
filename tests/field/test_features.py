"""A feature in a file beside the rules: a column of silver, and what rules are made of."""

import re
import shutil
import signal
from pathlib import Path

import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from ops.query import query
from ops.verify import verify
from tests.field.topic import NOON, Field, payments
from tests.ops.reports import broken
from tests.running import wait_until

RULES = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")

TERMINALS = """\
name: card_terminals_1h
version: 1
description: Terminals that the card was used at within the hour.
by: card_id
horizon: 1h
aggregate: distinct
of: terminal_id
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Give the folder of the rule of docs/rules.md on a new feature."""
    feature, rule = re.findall(r"```yaml\n(.*?)```", RULES, re.DOTALL)[:2]
    folder = tmp_path / "rules"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "card_small_10m.yaml").write_text(feature)
    (folder / "card_testing.yaml").write_text(rule)
    return folder


SECOND = """\
id: card_testing
version: 2
description: Stolen numbers are tried out at one terminal after the other.
severity: high
when: amount_minor < 200 AND card_terminals_1h >= 3
score: "50"
reason: "{card_terminals_1h} terminals within the hour"
cases:
  - name: the third terminal
    payments:
      - {after: 0m, amount_minor: 100, terminal_id: a}
      - {after: 1m, amount_minor: 100, terminal_id: b}
      - {after: 2m, amount_minor: 100, terminal_id: c}
    alerts: [3]
"""


def read_all(field: Field, rows: int) -> str:
    """Run the flow until silver has so many rows, and stop it; return what it has said."""
    there = field.folder / "tables" / "silver" / "payments" / "_delta_log"
    flow = field.flow()
    wait_until(
        lambda: (
            flow.process.poll() is not None
            or (there.exists() and field.table("silver/payments").height >= rows)
        )
    )
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert "Traceback" not in flow.said()
    return flow.said().rpartition("flow of Millstream")[2]


def not_compared(field: Field) -> dict[str, int]:
    """Look that the books balance; return what was not compared, by the check."""
    report = verify(settings_.load(field.settings))
    assert broken(report) == []
    return {check.name: check.deleted for check in report.checks if check.deleted}


FEATURES = "silver/payments' features are what the payments before make them"
ALERTS = "gold/alerts equals the rules on silver, row for row"


def test_features_and_rules_are_added_changed_and_taken_away(local: Field, rules: Path) -> None:
    stop = {"STOP_AT_END": "true"}
    local.settings["MILLSTREAM_RULES"] = str(rules)
    local.create()
    local.send(*payments(0, 9, card_id="thief", amount_minor=150))
    read_all(local, 10)
    assert local.flow("alerts", **stop).wait() == 0
    silver = local.table("silver/payments")
    assert silver["card_small_10m"].to_list() == list(range(1, 11))
    assert silver["card_count_10m"].to_list() == list(range(1, 11))
    assert local.table("gold/alerts")["rule_id"].to_list() == ["card_testing"] * 8
    root = str(local.folder / "tables")
    (most,) = query(root, "SELECT max(card_small_10m) AS most FROM silver_payments").to_dicts()
    assert most == {"most": 10}
    assert not_compared(local) == {}

    # One that a longer horizon's events are enough for, and one of what nobody has kept.
    few = (rules / "features" / "card_small_10m.yaml").read_text()
    (rules / "features" / "card_small_2s.yaml").write_text(few.replace("10m", "2s"))
    (rules / "features" / "card_terminals_1h.yaml").write_text(TERMINALS)
    local.send(*payments(10, 19, card_id="thief", amount_minor=150))
    said = read_all(local, 20)
    assert "feature card_small_2s of payments is new; feature card_terminals_1h of" in said
    assert "state is made anew" in said
    silver = local.table("silver/payments")
    assert silver["card_small_2s"].to_list() == [None] * 10 + [2] * 10
    assert silver["card_terminals_1h"].to_list() == [None] * 10 + [3] * 10
    assert silver["card_small_10m"].to_list() == list(range(1, 21))
    assert not_compared(local) == {FEATURES: 20}
    # No table can make the alerts flow's state anew.
    flow = local.flow("alerts", **stop)
    assert flow.wait() == 1
    (line,) = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    assert "the recovery store knows nothing of card_terminals_1h" in line
    assert "delete the recovery directory" in line
    assert "Traceback" not in flow.said()
    shutil.rmtree(local.folder / "state" / "alerts")
    assert local.flow("alerts", **stop).wait() == 0

    # Changed, taken away, and a rule's new version on what was added.
    (rules / "features" / "card_small_10m.yaml").write_text(
        few.replace("version: 1", "version: 2").replace("< 200", "< 100")
    )
    (rules / "features" / "card_small_2s.yaml").unlink()
    (rules / "card_testing.yaml").write_text(SECOND)
    local.send(*payments(20, 29, card_id="thief", amount_minor=150))
    read_all(local, 30)
    silver = local.table("silver/payments")
    assert silver["source_offset"].to_list() == list(range(30))
    assert silver["card_small_10m"].to_list() == [*range(1, 21), *[0] * 10]
    assert silver["card_terminals_1h"].to_list() == [None] * 10 + [3] * 20
    assert silver["card_small_2s"].to_list() == [None] * 10 + [2] * 10 + [None] * 10
    assert silver["event_time"].min() == NOON
    versions = local.table("gold/alerts")["rule_version"].to_list()
    assert versions == [1] * 18 + [2] * 10
    assert not_compared(local) == {FEATURES: 30, ALERTS: 18}

    alerts = DeltaTable(root + "/gold/alerts")
    alerts.delete("source_offset = 25")
    DeltaTable(root + "/silver/payments").update(
        updates={"card_small_10m": "9"}, predicate="source_offset = 25"
    )
    failed = broken(verify(settings_.load(local.settings)))
    assert {FEATURES, ALERTS} <= set(failed)

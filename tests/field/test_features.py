"""A feature in a file beside the rules: a column of silver, and what rules are made of."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from flows import settings as settings_
from ops.query import query
from ops.verify import verify
from tests.field.topic import NOON, Field, payments
from tests.ops.reports import broken
from tests.running import wait_until

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")

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
    """Give the folder of the README's rule on a new feature."""
    feature, rule = re.findall(
        r"```yaml\n(.*?)```", README.partition("### On a new feature")[2], re.DOTALL
    )[:2]
    folder = tmp_path / "rules"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "card_small_10m.yaml").write_text(feature)
    (folder / "card_testing.yaml").write_text(rule)
    return folder


def read_all(field: Field, rows: int) -> None:
    """Run the flow until silver has so many rows, and stop it."""
    there = field.folder / "tables" / "silver" / "payments" / "_delta_log"
    flow = field.flow()
    wait_until(lambda: there.exists() and field.table("silver/payments").height >= rows, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()


def test_a_feature_is_added_changed_and_taken_away(local: Field, rules: Path) -> None:
    local.settings["MILLSTREAM_RULES"] = str(rules)
    local.create()
    local.send(*payments(0, 9, card_id="thief", amount_minor=150))
    read_all(local, 10)
    silver = local.table("silver/payments")
    assert silver["card_small_10m"].to_list() == list(range(1, 11))
    assert silver["card_count_10m"].to_list() == list(range(1, 11))
    assert local.table("gold/alerts")["rule_id"].to_list() == ["card_testing"] * 8
    root = str(local.folder / "tables")
    (most,) = query(root, "SELECT max(card_small_10m) AS most FROM silver_payments").to_dicts()
    assert most == {"most": 10}
    assert broken(verify(settings_.load(local.settings))) == []

    # What a longer horizon keeps is enough for a shorter one; what nobody has kept is not there.
    few = (rules / "features" / "card_small_10m.yaml").read_text().replace("10m", "2s")
    (rules / "features" / "card_small_2s.yaml").write_text(few)
    local.send(*payments(10, 19, card_id="thief", amount_minor=150))
    read_all(local, 20)
    silver = local.table("silver/payments")
    assert silver["card_small_2s"].to_list() == [None] * 10 + [2] * 10
    assert silver["card_small_10m"].to_list() == list(range(1, 21))

    (rules / "features" / "card_terminals_1h.yaml").write_text(TERMINALS)
    flow = local.flow()
    assert flow.wait() == 1
    (line,) = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    assert "the recovery store knows nothing of card_terminals_1h" in line
    assert "delete the recovery directory" in line
    assert "Traceback" not in flow.said()
    shutil.rmtree(local.folder / "state" / "payments")
    (rules / "features" / "card_small_2s.yaml").unlink()
    local.send(*payments(20, 29, card_id="thief", amount_minor=150))
    read_all(local, 30)
    silver = local.table("silver/payments")
    assert silver["source_offset"].to_list() == list(range(30))
    assert silver["card_small_10m"].to_list() == list(range(1, 31))
    assert silver["card_terminals_1h"].to_list() == [None] * 20 + [3] * 10
    assert silver["card_small_2s"].to_list() == [None] * 10 + [2] * 10 + [None] * 10
    assert silver["event_time"].min() == NOON
    assert local.table("gold/alerts").height == 28

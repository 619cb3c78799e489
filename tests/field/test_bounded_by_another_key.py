"""A run of what is there, where records wait for partitions that have come less far."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from flows import settings as settings_
from ops.verify import verify
from tests.compare import read_topic
from tests.field.test_features_by_another_key import DISTINCT, RULE
from tests.field.topic import NOON, Field, payment
from tests.ops.reports import broken

MINUTES = 10, 60, 120
"""How far each partition comes."""


@pytest.fixture
def uneven(local: Field, tmp_path: Path) -> Field:
    """Give a topic whose partitions end at different times, and a feature by terminal."""
    rules = tmp_path / "rules"
    (rules / "features").mkdir(parents=True)
    (rules / "features" / "terminal_cards_1h.yaml").write_text(DISTINCT)
    (rules / "crowd.yaml").write_text(RULE)
    local.settings |= {
        "MILLSTREAM_RULES": str(rules),
        "MILLSTREAM_DECISIONS": "all",
        "MILLSTREAM_STOP_AT_END": "true",
        "MILLSTREAM_IDLE_TIMEOUT": "2s",
    }
    local.create(len(MINUTES))
    for partition, minutes in enumerate(MINUTES):
        local.send(
            *(
                payment(
                    1_000 * partition + minute,
                    event_time=NOON + timedelta(minutes=minute),
                    card_id=f"card-{partition}-{minute % 3}",
                    terminal_id="one",
                )
                for minute in range(minutes)
            ),
            partition=partition,
        )
    return local


def decided(field: Field, topic: str) -> int:
    sent = read_topic(settings_.load(field.settings), topic)["value"]
    return len({json.loads(value)["payment_id"] for value in sent})


def test_nothing_that_waits_for_a_partition_without_more_to_say_is_left_behind(
    uneven: Field,
) -> None:
    """Before, the run ended with a whole batch of two partitions neither judged nor in a table."""
    flow = uneven.flow()
    assert flow.wait() == 0, flow.said()
    assert "records wait for partitions that have come less far" in flow.said()
    silver = uneven.table("silver/payments")
    rows = silver.group_by("source_partition").len().sort("source_partition")
    assert rows.rows() == list(enumerate(MINUTES))
    settings = settings_.load(uneven.settings)
    assert uneven.table("gold/decisions").height == sum(MINUTES)
    assert decided(uneven, settings.decisions_topic) == sum(MINUTES)
    assert silver["terminal_cards_1h"].max() == 9
    assert uneven.table("gold/alerts").height > sum(MINUTES) // 2
    assert broken(verify(settings)) == []

    alone = {"ALERTS_TOPIC": f"{uneven.topic}.alone"}
    alone["DECISIONS_TOPIC"] = f"{uneven.topic}.alone.decisions"
    flow = uneven.flow("alerts", **alone)
    assert flow.wait() == 0, flow.said()
    assert decided(uneven, alone["DECISIONS_TOPIC"]) == sum(MINUTES)

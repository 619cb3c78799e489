"""Topics of simulated payments and of the chargebacks that follow, as both flows read them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from flows.settings import PREFIX
from ops.local import Stack
from ops.simulate import Params, produce, simulate, simulate_chargebacks
from ops.topics import create_topic

TO_THE_END = {f"{PREFIX}STOP_AT_END": "true", f"{PREFIX}CLOSE_WINDOWS_AT_END": "true"}
"""The settings of a run that takes the topics' ends for the end of event time."""


def names(topic: str) -> dict[str, str]:
    """Return the settings that name a topic of payments and, after it, all other topics."""
    return {
        f"{PREFIX}TOPIC": topic,
        f"{PREFIX}ALERTS_TOPIC": f"{topic}.alerts",
        f"{PREFIX}DECISIONS_TOPIC": f"{topic}.decisions",
        f"{PREFIX}DLQ_TOPIC": f"{topic}.dlq",
        f"{PREFIX}CHARGEBACKS_TOPIC": f"{topic}.back",
        f"{PREFIX}CHARGEBACKS_DLQ_TOPIC": f"{topic}.back.dlq",
        f"{PREFIX}LABELS_TOPIC": f"{topic}.labels",
        f"{PREFIX}LABELS_DLQ_TOPIC": f"{topic}.labels.dlq",
        f"{PREFIX}CLICKS_TOPIC": f"{topic}.clicks",
        f"{PREFIX}CLICKS_ALERTS_TOPIC": f"{topic}.clicks.alerts",
        f"{PREFIX}CLICKS_DLQ_TOPIC": f"{topic}.clicks.dlq",
        f"{PREFIX}CUSTOMERS_TOPIC": f"{topic}.customers",
        f"{PREFIX}CUSTOMERS_DLQ_TOPIC": f"{topic}.customers.dlq",
        f"{PREFIX}TERMINALS_TOPIC": f"{topic}.terminals",
        f"{PREFIX}TERMINALS_DLQ_TOPIC": f"{topic}.terminals.dlq",
    }


def settings(stack: Stack, topic: str, folder: Path) -> dict[str, str]:
    """Return the settings of both flows: their topics, tables in `folder`, 6 h to join in."""
    return {
        **stack.env(),
        **names(topic),
        f"{PREFIX}DELTA_ROOT": str(folder / "tables"),
        f"{PREFIX}CHARGEBACKS_WITHIN": "6h",
    }


def made(payments: int, partitions: int, cards: int = 200, **params: Any) -> dict[str, Any]:
    """Simulate, by the topics' suffixes, payments and chargebacks of a fifth of them."""
    paid = simulate(
        Params(
            payments=payments, customers=cards, terminals=cards, partitions=partitions, **params
        )
    )
    charged = simulate_chargebacks(
        paid.events.with_columns(is_fraud=pl.lit(value=True)),
        0.2,
        within=timedelta(hours=6),
        partitions=partitions,
    )
    return {"": paid, ".back": charged}


def fill(bootstrap: str, topic: str, records: dict[str, Any], partitions: int) -> None:
    """Make the topics, and send to each its records."""
    for suffix, each in records.items():
        create_topic(bootstrap, topic + suffix, partitions)
        produce(each, bootstrap, topic + suffix)

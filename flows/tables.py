"""The payments flow's tables and windows."""

from typing import Final

import polars as pl

from flows.columns import record_columns
from operators.cases import Fixture
from operators.features import SCHEMA as FEATURES
from operators.features import CardFeatures
from operators.records import RAW_COLUMNS, REJECT_COLUMNS
from operators.rules import alert_columns
from operators.steps.dedup import duplicate_columns
from operators.steps.windows import late_columns
from operators.tables import COORDINATES, TIME, Table
from operators.windows import Windows, agg, session, sliding, tumbling

SILVER_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    **record_columns("payment"),
    "watermark": TIME,
    **FEATURES,
}

BRONZE: Final = Table(
    "bronze/payments",
    {**RAW_COLUMNS, "ingest_date": pl.Date()},
    partition_by=("ingest_date",),
    scattered=("value",),
)
SILVER: Final = Table(
    "silver/payments",
    {**SILVER_COLUMNS, "event_date": pl.Date()},
    partition_by=("event_date",),
    scattered=("payment_id", "card_amount_minor_mean"),
)
DUPLICATES: Final = Table("silver/duplicates", duplicate_columns("payment_id"))
QUARANTINE: Final = Table("quarantine/payments", REJECT_COLUMNS)
ALERTS: Final = Table("gold/alerts", alert_columns("payment_id", "card_id"))
LATE_TOLD: Final = ("payment_id", "terminal_id")
LATE: Final = Table("gold/late", late_columns(LATE_TOLD))


FIXTURE: Final = Fixture(
    "payment",
    "payment_id",
    "card_id",
    {
        "card_id": "card-1",
        "customer_id": "customer-1",
        "terminal_id": "terminal-1",
        "amount_minor": 1_000,
        "currency": "EUR",
        "merchant_category": "5411",
        "country": "BE",
        "channel": "POS",
    },
    lambda: CardFeatures(30_000_000).advance,
)
"""What the cases of the payments' rules are played with."""


def terminal_minute(lateness: int) -> Windows:
    """Return what is aggregated per terminal and minute; `lateness` in µs."""
    aggregates = {
        "payments": agg.count(),
        "amount_minor_sum": agg.sum("amount_minor"),
        "amount_minor_max": agg.max("amount_minor"),
        "cards": agg.distinct("card_id"),
    }
    return Windows(("terminal_id",), tumbling("1m"), aggregates, lateness)


def category_hour(lateness: int) -> Windows:
    """Return what is aggregated per category and country every 5 min; `lateness` in µs."""
    aggregates = {
        "payments": agg.count(),
        "amount_minor_sum": agg.sum("amount_minor"),
        "amount_minor_max": agg.max("amount_minor"),
        "cards": agg.distinct("card_id", exact=10_000),
    }
    by = ("merchant_category", "country")
    return Windows(by, sliding("1h", every="5m"), aggregates, lateness)


def card_sessions(lateness: int) -> Windows:
    """Return what is aggregated per card and session, gap 30 min; `lateness` in µs."""
    aggregates = {
        "payments": agg.count(),
        "amount_minor_sum": agg.sum("amount_minor"),
        "amount_minor_max": agg.max("amount_minor"),
        "terminals": agg.distinct("terminal_id"),
        "first_payment_id": agg.first("payment_id"),
        "last_payment_id": agg.last("payment_id"),
    }
    return Windows(("card_id",), session("30m"), aggregates, lateness)


WINDOWED: Final = {
    "terminal_minute": terminal_minute,
    "category_hour": category_hour,
    "card_sessions": card_sessions,
}
"""The windows by the name of their step and their gold table, given the lateness in µs."""


def windowed_table(name: str, lateness: int) -> Table:
    """Return the table of the windows of this name; `lateness` in µs."""
    windows = WINDOWED[name](lateness)
    texts = {key: SILVER_COLUMNS[key] for key in windows.by}
    columns: dict[str, pl.DataType] = {
        **texts,
        "window_start": TIME,
        "window_end": TIME,
        "revision": pl.Int32(),
        **{
            column: pl.Int64() if each.kind != "first" and each.kind != "last" else pl.String()
            for column, each in windows.aggregates.items()
        },
    }
    ids = [n for n, each in windows.aggregates.items() if each.kind in ("first", "last")]
    return Table(
        f"gold/{name}",
        columns,
        fenced="by window",
        closes="closes",
        scattered=tuple(ids),
    )


def terminal_minute_table(lateness: int) -> Table:
    """Return the table of `terminal_minute`."""
    return windowed_table("terminal_minute", lateness)


def tables(lateness: int) -> list[Table]:
    """Return every table of the flow; `lateness` is the windows' in µs."""
    windowed = [windowed_table(name, lateness) for name in WINDOWED]
    return [BRONZE, SILVER, DUPLICATES, QUARANTINE, ALERTS, LATE, *windowed]

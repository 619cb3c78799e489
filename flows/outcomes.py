"""What became of each payment: the chargebacks flow's join and its tables."""

from typing import Final

import polars as pl

from flows.columns import record_columns
from operators.joins import IntervalJoin
from operators.records import REJECT_COLUMNS
from operators.steps.dedup import duplicate_columns
from operators.tables import COORDINATES, TIME, Table
from operators.waiting import LATE_ROWS, Side

PAYMENTS: Final = record_columns("payment")
CHARGEBACKS: Final = record_columns("chargeback")

SILVER_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    **CHARGEBACKS,
    "watermark": TIME,
}

SILVER: Final = Table(
    "silver/chargebacks",
    {**SILVER_COLUMNS, "event_date": pl.Date()},
    partition_by=("event_date",),
)
QUARANTINE: Final = Table("quarantine/chargebacks", REJECT_COLUMNS)
DUPLICATES: Final = Table(
    "silver/chargeback_duplicates",
    duplicate_columns("chargeback_id"),
    scattered=("chargeback_id",),
)
LATE: Final = Table("gold/late_for_outcomes", LATE_ROWS)

_OF_PAYMENT: Final = (
    "payment_id", "event_time", "card_id", "terminal_id", "amount_minor", "currency"
)  # fmt: skip
_OF_CHARGEBACK: Final = (
    "chargeback_id", "event_time", "amount_minor", "currency", "reason_code", "fraud"
)  # fmt: skip


def outcome_join(
    topic: str, chargebacks_topic: str, within: int, lateness: int
) -> IntervalJoin:
    """Return the join of payments with their chargebacks up to `within` µs later.

    A payment comes with each of its chargebacks, or, when the time is over, once without.
    """
    return IntervalJoin(
        Side(
            topic,
            ("payment_id",),
            {name: name for name in (*_OF_PAYMENT, *COORDINATES)},
            {**PAYMENTS, **COORDINATES},
        ),
        Side(
            chargebacks_topic,
            ("payment_id",),
            {f"chargeback_{name.removeprefix('chargeback_')}": name for name in _OF_CHARGEBACK},
            CHARGEBACKS,
        ),
        lower=0,
        upper=within,
        how="left",
        lateness=lateness,
    )


def outcomes_table(join: IntervalJoin) -> Table:
    """Return the table of the join's results."""
    return Table(
        "gold/payment_outcomes",
        join.schema,
        fenced="by window",
        lateness=join.lateness,
        closes="settled_at",
    )


def tables(join: IntervalJoin) -> list[Table]:
    """Return every table of the flow."""
    return [SILVER, DUPLICATES, QUARANTINE, LATE, outcomes_table(join)]

"""Labels that chargebacks make, and that payments get which nobody disputes."""

from typing import Final

import polars as pl

from flows.streams.chargebacks import CHARGEBACKS
from flows.streams.labels import LABELS
from flows.streams.payments import PAYMENTS
from operators.joins import IntervalJoin
from operators.records.tables import TIME
from operators.state.event_time_buffer import Side

SETTLED: Final = "settled_at"
"""The column of the watermark at which a label is made."""

_OF_PAYMENT: Final = (
    "payment_id", "event_time", "card_id", "terminal_id", "amount_minor", "currency"
)  # fmt: skip


def undisputed_join(
    topic: str, chargebacks_topic: str, after: int, lateness: int
) -> IntervalJoin:
    """Return the join of payments with the chargebacks of fraud up to `after` µs later."""
    paid = {name: name for name in _OF_PAYMENT}
    charged = {"chargeback_id": "chargeback_id"}
    return IntervalJoin(
        Side(topic, ("payment_id",), paid, PAYMENTS.fields),
        Side(chargebacks_topic, ("payment_id",), charged, CHARGEBACKS.fields),
        lower=0,
        upper=after,
        how="left",
        lateness=lateness,
    )


def frauds(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return a label for each chargeback of fraud among payments' outcomes."""
    some = outcomes.filter(pl.col("chargeback_fraud").fill_null(value=False))
    return _labels(
        some,
        label_id=pl.concat_str("payment_id", "chargeback_id", separator="/"),
        since=pl.col("chargeback_event_time"),
        verdict="FRAUD",
        source="chargeback",
    )


def genuine(undisputed: pl.DataFrame, after: int) -> pl.DataFrame:
    """Return a label for each payment that no chargeback has called a fraud `after` µs later."""
    return _labels(
        undisputed.filter(pl.col("chargeback_id").is_null()),
        label_id=pl.concat_str("payment_id", pl.lit("/undisputed")),
        since=pl.col("event_time") + pl.duration(microseconds=after),
        verdict="GENUINE",
        source="undisputed",
    )


def _labels(
    rows: pl.DataFrame, label_id: pl.Expr, since: pl.Expr, verdict: str, source: str
) -> pl.DataFrame:
    made = {
        "label_id": label_id,
        "event_time": since.cast(TIME),
        "verdict": pl.lit(verdict),
        "source": pl.lit(source),
        "paid_at": pl.col("event_time"),
        # Outcomes do not have it: by customer only labels count that others send.
        "customer_id": pl.lit(None, pl.String()),
    }
    columns = [made.get(name, pl.col(name)).alias(name) for name in LABELS.fields]
    return rows.select(*columns, SETTLED)

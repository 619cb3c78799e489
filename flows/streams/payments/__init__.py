"""Payments: what is declared of them."""

from pathlib import Path

from flows.streams.labels import LABELS
from flows.streams.payments.former import VERSION_2
from flows.streams.payments.places import Places
from flows.streams.stream import Stream
from flows.streams.upkeep import Upkeep
from operators.windows import Windows, agg, session, sliding, tumbling

_TOTALS = {
    "payments": agg.count(),
    "amount_minor_sum": agg.sum("amount_minor"),
    "amount_minor_max": agg.max("amount_minor"),
}

PAYMENTS = Stream(
    name="payments",
    record="payment",
    id="payment_id",
    key="card_id",
    coded=(Places(),),
    former=VERSION_2,
    windows={
        "terminal_minute": Windows(
            ("terminal_id",), tumbling("1m"), _TOTALS | {"cards": agg.distinct("card_id")}
        ),
        "category_hour": Windows(
            ("merchant_category", "country"),
            sliding("1h", every="5m"),
            _TOTALS | {"cards": agg.distinct("card_id", exact=10_000)},
        ),
        # By currency: amounts of different ones are never added up. What is asked of months of
        # payments adds these up, and reads no silver.
        "terminal_day": Windows(
            ("terminal_id", "merchant_category", "country", "currency"), tumbling("1d"), _TOTALS
        ),
        "customer_day": Windows(("customer_id", "currency"), tumbling("1d"), _TOTALS),
        "card_sessions": Windows(
            ("card_id",),
            session("30m"),
            {
                **_TOTALS,
                "terminals": agg.distinct("terminal_id"),
                "first_payment_id": agg.first("payment_id"),
                "last_payment_id": agg.last("payment_id"),
            },
        ),
    },
    rules=Path(__file__).parent / "rules",
    example={
        "amount_minor": 1_000,
        "currency": "EUR",
        "merchant_category": "5411",
        "country": "BE",
    },
    told=("terminal_id",),
    decides=True,
    tables={
        "duplicates": "silver/duplicates",
        "alerts": "gold/alerts",
        "decisions": "gold/decisions",
        "data_quality": "gold/data_quality",
        "schema_drift": "gold/schema_drift",
        "late": "gold/late",
    },
    # Who looks into a case asks for a card.
    upkeep={"silver/payments": Upkeep(z_order=("card_id",))},
    amount="amount_minor",
    labelled=LABELS,
    lists=("card_id", "customer_id", "terminal_id", "device_id", "country", "currency"),
)

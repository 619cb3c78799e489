"""Payments with their customer and their terminal as of then: what is declared of them."""

from flows.streams.customers import CUSTOMERS
from flows.streams.lookups import Enriched, Lookup
from flows.streams.payments import PAYMENTS
from flows.streams.terminals import TERMINALS

ENRICHED = Enriched(
    name="enriched",
    stream=PAYMENTS,
    columns=(
        "payment_id", "event_time", "card_id", "customer_id", "terminal_id", "amount_minor",
        "currency", "merchant_category", "country", "channel",
    ),
    lookups=(
        Lookup(
            CUSTOMERS,
            ("customer_id",),
            {
                "customer_country": "country",
                "customer_segment": "segment",
                "customer_since": "customer_since",
                "customer_as_of": "event_time",
            },
        ),
        Lookup(
            TERMINALS,
            ("terminal_id",),
            {
                "terminal_category": "merchant_category",
                "terminal_country": "country",
                "terminal_status": "status",
                "terminal_version": "version",
                "terminal_as_of": "event_time",
            },
        ),
    ),
)  # fmt: skip

"""The catalog: every stream that is declared, for flows and for all that goes through them."""

from flows.streams.chargebacks import CHARGEBACKS, outcome_tables
from flows.streams.clicks import CLICKS
from flows.streams.payments import PAYMENTS
from flows.streams.stream import Stream
from operators.records.tables import Table

STREAMS = (PAYMENTS, CHARGEBACKS, CLICKS)
"""Every stream; what the settings of payments say, the others have too."""


def all_tables() -> list[Table]:
    """Return every table of every flow."""
    return [*(table for each in STREAMS for table in each.all_tables), *outcome_tables()]


__all__ = ["CHARGEBACKS", "CLICKS", "PAYMENTS", "STREAMS", "Stream", "all_tables"]

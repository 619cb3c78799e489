"""Chargebacks, and what became of each payment: what is declared of them."""

from datetime import timedelta
from typing import Final

from pydantic import Field

from flows.streams.payments import PAYMENTS
from flows.streams.settings import Duration, StreamSettings
from flows.streams.stream import Stream
from operators.joins import IntervalJoin
from operators.records.tables import COORDINATES, Table
from operators.state.event_time_buffer import LATE_ROWS, Side


class ChargebackSettings(StreamSettings):
    """How long chargebacks are waited for, and that they are few and come late.

    A payment that no chargeback calls a fraud is labelled as genuine `genuine_after` it.
    A partition that is quiet for a minute has only none.
    """

    within: Duration = Field(
        timedelta(days=120), description="how long a payment waits for its chargebacks"
    )
    genuine_after: Duration = Field(
        timedelta(days=7),
        description="how long after a payment it is labelled as genuine, where no chargeback has "
        "called it a fraud",
    )
    out_of_orderness: Duration = Field(
        timedelta(hours=1), description="as for payments, of chargebacks"
    )
    idle_timeout: Duration = Field(
        timedelta(days=1), description="as for payments, of chargebacks"
    )


CHARGEBACKS = Stream(
    name="chargebacks",
    record="chargeback",
    id="chargeback_id",
    key="payment_id",
    settings=ChargebackSettings,
    alone=False,
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
            {**PAYMENTS.fields, **COORDINATES},
        ),
        Side(
            chargebacks_topic,
            ("payment_id",),
            {f"chargeback_{name.removeprefix('chargeback_')}": name for name in _OF_CHARGEBACK},
            CHARGEBACKS.fields,
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


def outcome_tables() -> list[Table]:
    """Return the tables that the join writes, whatever the settings."""
    return [LATE, outcomes_table(outcome_join("payments", "chargebacks", 0, 0))]

"""The catalog: every stream that is declared, for flows and for all that goes through them."""

from flows.stream_names import quarantine_of
from flows.streams.chargebacks import CHARGEBACKS, outcome_tables
from flows.streams.clicks import CLICKS
from flows.streams.customers import CUSTOMERS
from flows.streams.enriched import ENRICHED
from flows.streams.labels import LABELS
from flows.streams.lookups import Enriched
from flows.streams.payments import PAYMENTS
from flows.streams.stream import Stream
from flows.streams.terminals import TERMINALS
from flows.streams.upkeep import OF_REFUSED, Upkeep
from operators.records.tables import Table

STREAMS = (PAYMENTS, CHARGEBACKS, CLICKS, LABELS, CUSTOMERS, TERMINALS)
"""Every stream; what the settings of payments say, the others have too. Who only needs their names
has them from `flows.stream_names`."""

ENRICHMENTS = (ENRICHED,)
"""What has records of a stream with others' rows as of then; each has a flow of its name."""

_READ_BY = {LABELS.name: PAYMENTS.name}
"""The flow that writes the tables of a stream whose name it does not have."""


def as_published() -> list[Stream]:
    """Return the streams whose topics have records of their schemas as they are, in no envelope."""
    return [each for each in STREAMS if each.changes is None or not each.changes.enveloped]


def all_tables() -> list[Table]:
    """Return every table of every flow."""
    return [table for table, _ in writers().values()]


def writers() -> dict[str, tuple[Table, str]]:
    """Return every table by its name, each with the flow that writes it."""
    found = {
        table.name: (table, _READ_BY.get(each.name, each.name))
        for each in STREAMS
        for table in each.all_tables
    }
    found |= {table.name: (table, CHARGEBACKS.name) for table in outcome_tables()}
    return found | {
        table.name: (table, each.name) for each in ENRICHMENTS for table in each.tables
    }


def upkeep_of(table: str) -> Upkeep:
    """Return how a table is maintained; one of an enforced topic that says nothing else, too."""
    own = (each.upkeep[table] for each in STREAMS if table in each.upkeep)
    refused = table.startswith(quarantine_of(""))
    return next(own, OF_REFUSED if refused else Upkeep())


def is_held_to(table: str) -> bool:
    """Tell whether others are made of a table, or held to it, so that retention cuts nothing."""
    found = ((each.silver, each.duplicates, each.late, each.alerts) for each in STREAMS)
    return table in {
        *(each.name for some in found for each in some),
        *(each.name for each in outcome_tables()),
        *(table.name for each in ENRICHMENTS for table in each.tables),
        *(each.merged.name for each in STREAMS if each.changes),
    }


__all__ = [
    "CHARGEBACKS",
    "CLICKS",
    "CUSTOMERS",
    "ENRICHED",
    "ENRICHMENTS",
    "LABELS",
    "PAYMENTS",
    "STREAMS",
    "TERMINALS",
    "Enriched",
    "Stream",
    "all_tables",
    "as_published",
    "is_held_to",
    "upkeep_of",
    "writers",
]

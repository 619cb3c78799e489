"""The chargebacks flow's books: each record's one place, and every payment's outcome anew.

As for the windows, DataFusion runs SQL that shares no code with the flow. Rows are read in
batches and compared by a hash, as there is an outcome for every payment.
"""

from collections.abc import Callable
from typing import Final

import polars as pl
from deltalake import DeltaTable

from flows.chargebacks import outcomes_of
from flows.settings import Settings
from flows.streams import CHARGEBACKS, PAYMENTS
from flows.streams.chargebacks import LATE, outcomes_table
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import table_uri
from operators.connectors.kafka.topic_ids import identify
from operators.joins import IntervalJoin
from ops.verify.data_quality import check_data_quality
from ops.verify.joined import Joined
from ops.verify.report import Check, only_once
from ops.verify.tables import Tables
from ops.verify.topics import PLACE, reject_ids, sent_once, source_records, still_there

_PLACE: Final = list(PLACE)

_OUTCOMES: Final = """
WITH paid AS ({paid}), charged AS ({charged})
SELECT
    {payment},
    c.chargeback_id, c.event_time AS chargeback_event_time,
    c.amount_minor AS chargeback_amount_minor, c.currency AS chargeback_currency,
    c.reason_code AS chargeback_reason_code, c.fraud AS chargeback_fraud,
    coalesce(c.event_time, p.event_time + INTERVAL '{within} microseconds')
        + INTERVAL '1 microseconds' AS settled_at
FROM paid AS p LEFT JOIN charged AS c
    ON p.payment_id = c.payment_id AND c.event_time >= p.event_time
    AND c.event_time <= p.event_time + INTERVAL '{within} microseconds'
"""


class _Books(Joined):
    """The tables, each at the version it had at first, and an engine that knows them."""

    def __init__(self, settings: Settings, payments: DeltaTable) -> None:
        self.own = settings.of(CHARGEBACKS)
        self.join: IntervalJoin = outcomes_of(settings)
        names = (*CHARGEBACKS.ledger.counted, LATE, outcomes_table(self.join))
        self._tables = {
            table.name: DeltaTable(table_uri(settings.delta_root, table.name))
            for table in names
        }
        self.outcomes = self._tables[outcomes_table(self.join).name]
        silver = self._tables[CHARGEBACKS.silver.name]
        sides = {"payments": (PAYMENTS, payments), "chargebacks": (CHARGEBACKS, silver)}
        super().__init__(settings, sides, silver, self._tables[LATE.name])
        self.register("outcomes", self.outcomes)

    def read(self, name: str, columns: list[str]) -> pl.DataFrame:
        return read(self._tables[name], columns)


def check_chargebacks(
    settings: Settings, payments: DeltaTable, told: Callable[[str], None]
) -> list[Check]:
    """Check the chargebacks flow's tables and topic; without such tables there are no checks.

    `payments` is silver/payments; both flows must have caught up. Raises
    KafkaUnavailableError where the topics cannot be read.
    """
    outcomes = table_uri(settings.delta_root, "gold/payment_outcomes")
    if not DeltaTable.is_deltatable(outcomes):
        return []
    books = _Books(settings, payments)
    told("looking for each chargeback's one place")
    checks = [_check_places(books), *_check_quality(books)]
    told("working out the outcomes anew from silver")
    late = books.check_late(
        "gold/late_for_outcomes holds every record that was late for the join, once"
    )
    checks += [_check_watermarks(books), late, _check_outcomes(books)]
    told("reading the chargebacks' dead-letter topic")
    topic = books.own.dlq_topic
    rejects = reject_ids(
        books.read(CHARGEBACKS.quarantine.name, ["code", "source_topic", *_PLACE])
    )
    name = f"{topic} holds every rejected chargeback, once"
    source = identify(settings.kafka, [books.own.topic], 10)[books.own.topic]
    gone = books.gone[CHARGEBACKS.name].has
    return [*checks, sent_once(name, settings.kafka, topic, rejects, source, removed=gone)]


def _check_places(books: _Books) -> Check:
    settings = books.settings
    source = source_records(settings.kafka, books.own.topic, lambda _: None)
    placed = pl.concat(
        books.read(table.name, _PLACE).with_columns(place=pl.lit(table.name))
        for table in CHARGEBACKS.ledger.counted
    )
    still = still_there(source, placed)
    return only_once(
        "every chargeback of the topic is in one place, once",
        books.gone[CHARGEBACKS.name].without(source.select(_PLACE)),
        still,
        deleted=placed.height - still.height,
    )


def _check_quality(books: _Books) -> list[Check]:
    tables, topic = Tables(books.settings.delta_root), books.own.topic
    cut = any(tables.cut(table.name, topic) for table in CHARGEBACKS.ledger.counted)
    # What it has counted of rows that are gone nobody can count again.
    if cut or books.gone[CHARGEBACKS.name]:
        return []
    return check_data_quality(CHARGEBACKS, tables, books.settings)


def _check_watermarks(books: _Books) -> Check:
    rows = books.query(
        f"SELECT source_partition, source_offset, watermark, derived "  # noqa: S608 # our own words
        f"FROM ({books.derived('chargebacks')})"
    )
    wrong = rows.filter(~pl.col("watermark").eq_missing(pl.col("derived")))
    name = "silver/chargebacks' watermark is what its partition's records make it"
    return Check.of(name, rows.height, wrong)


def _check_outcomes(books: _Books) -> Check:
    made = _OUTCOMES.format(
        paid=books.counted("payments"),
        charged=books.counted("chargebacks"),
        payment=", ".join(f"p.{name}" for name in books.join.left.columns),
        within=books.join.upper,
    )
    return books.check_rows(
        "gold/payment_outcomes equals silver's payments and chargebacks joined, row for row",
        made,
        "outcomes",
        books.join.schema,
        books.watermark("chargebacks", books.outcomes),
    )

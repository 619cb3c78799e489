"""The chargebacks flow's books: each record's one place, and every payment's outcome anew.

As for the windows, DataFusion runs SQL that shares no code with the flow. Rows are read in
batches and compared by a hash, as there is an outcome for every payment.
"""

from collections.abc import Callable
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from flows.chargebacks import outcomes_of
from flows.settings import Settings
from flows.streams import CHARGEBACKS, PAYMENTS
from flows.streams.chargebacks import LATE, outcomes_table
from flows.tables import bounds
from operators.columns.durations import micros
from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.definitions import history
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import Fence, table_uri
from operators.connectors.kafka.client import wait_for_partitions
from operators.connectors.kafka.topic_ids import identify
from operators.joins import IntervalJoin
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once
from ops.verify.statements import but_forgotten
from ops.verify.topics import PLACE, reject_ids, sent_once, source_records, still_there

_PLACE: Final = list(PLACE)

# A record is late for the join if its time plus the lateness is before its own partition's
# watermark just before it.
_LATE: Final = """
SELECT source_topic, source_partition, source_offset FROM ({side})
WHERE event_time + INTERVAL '{lateness} microseconds' < derived
"""

# The records that count: all but those in gold/late_for_outcomes.
_COUNTED: Final = """
SELECT s.* FROM {side} AS s LEFT ANTI JOIN late AS l
    ON s.source_topic = l.source_topic AND s.source_partition = l.source_partition
    AND s.source_offset = l.source_offset
"""

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


_SIDES: Final = {each.name: each for each in (PAYMENTS, CHARGEBACKS)}


class _Books:
    """The tables, each at the version it had at first, and an engine that knows them."""

    def __init__(self, settings: Settings, payments: DeltaTable) -> None:
        self.settings = settings
        self.lateness = micros(settings.allowed_lateness)
        self.own = settings.of(CHARGEBACKS)
        self.join: IntervalJoin = outcomes_of(settings)
        names = (*CHARGEBACKS.all_tables, LATE, outcomes_table(self.join))
        self._tables = {
            table.name: DeltaTable(table_uri(settings.delta_root, table.name))
            for table in names
        }
        self.outcomes = self._tables[outcomes_table(self.join).name]
        root, silver = settings.delta_root, self._tables[CHARGEBACKS.silver.name]
        self.gone = {each.name: Forgotten.of(root, each.name) for each in _SIDES.values()}
        self._engine = (
            QueryBuilder()
            .register("late", self._tables[LATE.name])
            .register("outcomes", self.outcomes)
        )
        for name, table in (("payments", payments), ("chargebacks", silver)):
            self._engine = self.gone[name].register(self._engine, name, table)

    def derived(self, side: str) -> str:
        """Return the query for a side's records with the watermark that this flow had before each.

        That of payments need not be the payments flow's: each has its own places where it changed.
        """
        own = self.settings.of(_SIDES[side])
        told = history(self._tables[CHARGEBACKS.silver.name])
        bound = bounds(told, own.topic, micros(own.out_of_orderness))
        columns, some = [*_PLACE, "event_time", "watermark"], bool(self.gone[side])
        return but_forgotten(side, columns, bound, some=some)

    def counted(self, side: str) -> str:
        """Return the query for a side's records that count."""
        kept = f"(SELECT * FROM {side} WHERE NOT forgotten)" if self.gone[side] else side  # noqa: S608
        return _COUNTED.format(side=kept)

    def read(self, name: str, columns: list[str]) -> pl.DataFrame:
        return read(self._tables[name], columns)

    def query(
        self, sql: str, made: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows
    ) -> pl.DataFrame:
        """Run SQL; `made` is applied to each batch of its rows."""
        reader = self._engine.execute(sql)
        # No batch may come at all.
        frames = [made(_frame(pa.schema(reader.schema).empty_table()))]
        frames += [made(_frame(pa.record_batch(batch))) for batch in reader]
        return pl.concat(frames)


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
    checks = [_check_places(books)]
    told("working out the outcomes anew from silver")
    checks += [_check_watermarks(books), _check_late(books), _check_outcomes(books)]
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
        for table in CHARGEBACKS.all_tables
    )
    still = still_there(source, placed)
    return only_once(
        "every chargeback of the topic is in one place, once",
        books.gone[CHARGEBACKS.name].without(source.select(_PLACE)),
        still,
        deleted=placed.height - still.height,
    )


def _check_watermarks(books: _Books) -> Check:
    rows = books.query(
        f"SELECT source_partition, source_offset, watermark, derived "  # noqa: S608 # our own words
        f"FROM ({books.derived('chargebacks')})"
    )
    wrong = rows.filter(~pl.col("watermark").eq_missing(pl.col("derived")))
    name = "silver/chargebacks' watermark is what its partition's records make it"
    return Check.of(name, rows.height, wrong)


def _check_late(books: _Books) -> Check:
    place = ["source_topic", *_PLACE]
    sides = (
        _LATE.format(side=books.derived(side), lateness=books.lateness)
        for side in ("payments", "chargebacks")
    )
    expected = books.query(" UNION ALL ".join(sides))
    recorded = books.query(f"SELECT {', '.join(place)}, event_time, watermark FROM late")  # noqa: S608
    # A partition that was idle while the others went on is judged by the flow's watermark,
    # which the table records: such a row must be late by that.
    missed = pl.col("watermark") > pl.col("event_time") + pl.duration(
        microseconds=books.lateness
    )
    woken = recorded.join(expected, on=place, how="anti").filter(missed)
    return only_once(
        "gold/late_for_outcomes holds every record that was late for the join, once",
        pl.concat([expected, woken.select(place)]),
        recorded,
    )


def _check_outcomes(books: _Books) -> Check:
    settings, columns = books.settings, list(books.join.schema)
    topics = [
        (topic, partition)
        for topic in (settings.topic, books.own.topic)
        for partition in wait_for_partitions(settings.kafka, topic, 10)
    ]
    watermark = recorded(books.outcomes, Fence("chargebacks", topics)).watermark

    def hashed(rows: pl.DataFrame) -> pl.DataFrame:
        row = rows.select(pl.col(name).cast(dtype) for name, dtype in books.join.schema.items())
        return row.select(*_PLACE, "settled_at", row_hash=row.hash_rows())

    made = _OUTCOMES.format(
        paid=books.counted("payments"),
        charged=books.counted("chargebacks"),
        payment=", ".join(f"p.{name}" for name in books.join.left.columns),
        within=books.join.upper,
    )
    # What waits for the watermark is not there yet.
    due = pl.col("settled_at").dt.epoch("us") + books.lateness <= watermark
    expected = books.query(made, hashed).filter(due).drop("settled_at")
    actual = books.query(f"SELECT {', '.join(columns)} FROM outcomes", hashed)  # noqa: S608
    return only_once(
        "gold/payment_outcomes equals silver's payments and chargebacks joined, row for row",
        expected,
        actual,
    )


def _frame(rows: Any) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(rows))
    times = pl.selectors.datetime().cast(pl.Datetime("us"))
    return frame.with_columns(times.dt.replace_time_zone("UTC"))

"""Counting: what became of the payments that each rule hit, of the tables at some versions.

Everything is counted anew: a sum that is kept would have to be taken back where a label is revoked,
and alerts are few. What is read of the large tables is what belongs to alerts.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from flows.streams import PAYMENTS
from flows.streams.chargebacks import outcome_tables
from flows.streams.labels import LABELS
from operators.connectors.delta.table import reaching, table_uri
from operators.records.tables import Table
from operators.rules.status import LIVE

KEY: Final = {"rule_id": pl.String(), "rule_version": pl.Int32(), "day": pl.Date()}
COUNTS: Final = (
    "hits", "live_hits", "confirmed", "false_hits", "open",
    "amount_minor", "amount_minor_confirmed", "amount_minor_false",
)  # fmt: skip

QUALITY: Final = Table(
    "gold/rule_quality",
    {**KEY, "revision": pl.Int32(), **dict.fromkeys(COUNTS, pl.Int64())},
    fenced="by window",
    scattered=(),
)
"""A row per rule version, day of the payments and revision: the last one has what is known.

`hits` are `confirmed` as frauds, `false_hits`, as they are known to be genuine, or still `open`;
`live_hits` are those that were not in shadow. Amounts are in minor units, whatever the currency.
"""

_OUTCOMES: Final = outcome_tables()[1]
_SILVER: Final = PAYMENTS.silver.name
_ALERTS: Final = PAYMENTS.alerts.name
SOURCES: Final = (_ALERTS, _SILVER, LABELS.silver.name, _OUTCOMES.name)
"""What is counted of; the first two must be there."""

_SAME: Final = " AND ".join(
    f"a.{name} = p.{name}" for name in ("source_topic", "source_partition", "source_offset")
)
_HITS: Final = (
    "SELECT a.rule_id, a.rule_version, a.rule_status, a.payment_id, p.event_date AS day, "  # noqa: S608 # our own
    f"p.amount_minor FROM alerts AS a JOIN payments AS p ON {_SAME}"
)
# Of a payment's labels the newest counts, by when it became known.
_LABELS: Final = """
SELECT payment_id, event_time, source_partition, source_offset, verdict = 'FRAUD' AS fraud
FROM labels AS l LEFT SEMI JOIN alerts AS a ON l.payment_id = a.payment_id
"""
_CHARGED: Final = """
SELECT payment_id, bool_or(coalesce(chargeback_fraud, false)) AS fraud
FROM outcomes AS l LEFT SEMI JOIN alerts AS a ON l.payment_id = a.payment_id GROUP BY payment_id
"""


_SAID: Final = """
SELECT payment_id, verdict = 'FRAUD' AS fraud FROM (
  SELECT payment_id, verdict, row_number() OVER (
    PARTITION BY payment_id ORDER BY event_time DESC, source_partition DESC, source_offset DESC
  ) AS place FROM labels
) AS said WHERE place = 1
"""
_SETTLED: Final = """
SELECT payment_id, bool_or(coalesce(chargeback_fraud, false)) AS fraud FROM outcomes
GROUP BY payment_id
"""
_GENUINE: Final = """
SELECT p.event_date AS day, count(*) AS genuine
FROM payments AS p JOIN ({known}) AS k ON p.payment_id = k.payment_id
WHERE NOT k.fraud AND p.event_date > DATE '{after}' GROUP BY p.event_date
"""
_UNKNOWN: Final = """
SELECT count(DISTINCT l.payment_id) AS payments
FROM labels AS l LEFT ANTI JOIN payments AS p ON l.payment_id = p.payment_id
"""


def opened(root: str, versions: Mapping[str, int] | None = None) -> dict[str, DeltaTable]:
    """Return those of the sources that are there, as they are now or were at `versions`.

    Raises StorageUnavailableError.
    """
    found = {}
    for name in SOURCES:
        uri = table_uri(root, name)
        with reaching(uri):
            if versions is None and DeltaTable.is_deltatable(uri):
                found[name] = DeltaTable(uri)
            elif versions is not None and name in versions:
                found[name] = DeltaTable(uri, version=versions[name])
    return found


def _engine(tables: Mapping[str, DeltaTable]) -> QueryBuilder:
    engine = QueryBuilder()
    names = dict(zip(SOURCES, ("alerts", "payments", "labels", "outcomes"), strict=True))
    for name, table in tables.items():
        with reaching(table.table_uri):
            engine = engine.register(names[name], table)
    return engine


def genuine_since(root: str, after: date) -> int:
    """Return how many payments behind a day are known to be genuine, hit by a rule or not.

    Known as `counted` has it: by their newest labels, and else by chargebacks. Raises
    StorageUnavailableError.
    """
    tables = opened(root)
    labelled, settled = (name in tables for name in (LABELS.silver.name, _OUTCOMES.name))
    parts = [_SAID] if labelled else []
    if settled:
        others = f"LEFT ANTI JOIN ({_SAID}) AS s ON o.payment_id = s.payment_id"
        parts.append(f"SELECT o.* FROM ({_SETTLED}) AS o {others if labelled else ''}")  # noqa: S608 # our own
    if not parts or _SILVER not in tables:
        return 0
    sql = _GENUINE.format(known=" UNION ALL ".join(parts), after=after.isoformat())
    return int(_frame(_engine(tables), sql)["genuine"].sum())


def unknown_payments(root: str) -> int | None:
    """Return of how many payments that silver does not have there are labels, None without any.

    Raises StorageUnavailableError.
    """
    tables = opened(root)
    if LABELS.silver.name not in tables or _SILVER not in tables:
        return None
    return int(_frame(_engine(tables), _UNKNOWN)["payments"][0])


def counted(tables: Mapping[str, DeltaTable]) -> pl.DataFrame:
    """Return what the tables make of each rule version and day: `KEY` and `COUNTS`, in order."""
    engine = _engine(tables)
    hits = _frame(engine, _HITS)
    labels = pl.DataFrame(schema={"payment_id": pl.String, "fraud": pl.Boolean})
    if LABELS.silver.name in tables:
        order = ["event_time", "source_partition", "source_offset"]
        found = _frame(engine, _LABELS).sort(order).select("payment_id", "fraud")
        labels = found.unique("payment_id", keep="last")
    if _OUTCOMES.name in tables:
        others = _frame(engine, _CHARGED).join(labels, on="payment_id", how="anti")
        labels = pl.concat([labels, others.select(labels.columns)])
    amount = pl.col("amount_minor")
    fraud = pl.col("fraud").fill_null(value=False)
    genuine = (~pl.col("fraud")).fill_null(value=False)
    made = hits.join(labels, on="payment_id", how="left").group_by(*KEY).agg(
        pl.len().alias("hits"),
        (pl.col("rule_status").fill_null(LIVE) == LIVE).sum().alias("live_hits"),
        fraud.sum().alias("confirmed"),
        genuine.sum().alias("false_hits"),
        pl.col("fraud").is_null().sum().alias("open"),
        amount.sum(),
        amount.filter(fraud).sum().alias("amount_minor_confirmed"),
        amount.filter(genuine).sum().alias("amount_minor_false"),
    )  # fmt: skip
    return _typed(made)


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    kinds = {**KEY, **dict.fromkeys(COUNTS, pl.Int64())}
    return rows.select(pl.col(n).cast(kind) for n, kind in kinds.items()).sort(*KEY)


def _frame(engine: QueryBuilder, sql: str) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pa.table(engine.execute(sql).read_all())))


def newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return of a table's rows the last revision of each, with `KEY`, `revision` and `COUNTS`."""
    last = rows.sort("revision").unique([*KEY], keep="last", maintain_order=True)
    return last.select(*KEY, "revision", *COUNTS).sort(*KEY)


def revised(there: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that bring a table to what was made: those that changed, as revisions.

    `there` is as of `newest`. What is not made any more has nothing.
    """
    both = there.select(*KEY, "revision").join(made, on=[*KEY], how="full", coalesce=True)
    both = both.with_columns(pl.col(COUNTS).fill_null(0))
    same = there.drop("revision")
    changed = both.join(same, on=same.columns, how="anti")
    return (
        changed.with_columns((pl.col("revision") + 1).fill_null(0).cast(pl.Int32))
        .select(*KEY, "revision", *COUNTS)
        .sort(*KEY)
    )

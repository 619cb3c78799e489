"""DuckDB recomputes every windowed gold table from silver, in SQL of its own."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from bytewax.testing import TestingSink, TestingSource, run_main

from flows.pipeline import build
from flows.streams import PAYMENTS
from operators.records.batches import END_OF_INPUT, Progress, RawBatch
from operators.windows import newest
from ops.simulate import Params, Troubles, simulate
from ops.simulate.encode import SCHEMA_HEADER
from tests.flows.test_payments import SETTINGS, parts

duckdb = pytest.importorskip("duckdb")

PARTITIONS = 3
LATENESS_US = 60_000_000

SEEN = """
SELECT *, epoch_us(event_time) AS t, epoch_us(watermark) AS mark FROM silver
"""
TERMINAL_MINUTE = f"""
SELECT terminal_id, make_timestamp(s) AS window_start, make_timestamp(s + 60000000) AS window_end,
    max(CASE WHEN mark >= s + 60000000 THEN 1 ELSE 0 END)::INTEGER AS revision,
    count(*) AS payments, sum(amount_minor)::BIGINT AS amount_minor_sum,
    max(amount_minor) AS amount_minor_max, count(DISTINCT card_id) AS cards
FROM (SELECT *, t // 60000000 * 60000000 AS s FROM seen)
WHERE mark IS NULL OR mark < s + 60000000 + {LATENESS_US}
GROUP BY terminal_id, s
"""
CATEGORY_HOUR = f"""
SELECT merchant_category, country, make_timestamp(s) AS window_start,
    make_timestamp(s + 3600000000) AS window_end,
    max(CASE WHEN mark >= s + 3600000000 THEN 1 ELSE 0 END)::INTEGER AS revision,
    count(*) AS payments, sum(amount_minor)::BIGINT AS amount_minor_sum,
    max(amount_minor) AS amount_minor_max, count(DISTINCT card_id) AS cards
FROM (
    SELECT seen.*, (t // 300000000 - back) * 300000000 AS s FROM seen, range(12) AS r (back)
)
WHERE mark IS NULL OR mark < s + 3600000000 + {LATENESS_US}
GROUP BY merchant_category, country, s
"""
CARD_SESSIONS = f"""
WITH counted AS (SELECT * FROM seen WHERE mark IS NULL OR mark < t + {LATENESS_US}),
opened AS (
    SELECT *, CASE WHEN t - lag(t) OVER w < 1800000000 THEN 0 ELSE 1 END AS opens
    FROM counted WINDOW w AS (PARTITION BY card_id ORDER BY t, source_partition, source_offset)
),
chained AS (
    SELECT *, sum(opens) OVER (
        PARTITION BY card_id ORDER BY t, source_partition, source_offset
    ) AS session FROM opened
)
SELECT card_id, make_timestamp(min(t)) AS window_start,
    make_timestamp(max(t) + 1800000000) AS window_end,
    count(*) AS payments, sum(amount_minor)::BIGINT AS amount_minor_sum,
    max(amount_minor) AS amount_minor_max, count(DISTINCT terminal_id) AS terminals,
    first(payment_id ORDER BY t, source_partition, source_offset) AS first_payment_id,
    last(payment_id ORDER BY t, source_partition, source_offset) AS last_payment_id
FROM chained GROUP BY card_id, session
"""
QUERIES = {
    "gold/terminal_minute": TERMINAL_MINUTE,
    "gold/category_hour": CATEGORY_HOUR,
    "gold/card_sessions": CARD_SESSIONS,
}


@pytest.fixture(scope="module")
def rows() -> dict[str, pl.DataFrame]:
    """The flow's tables, of a simulation with many late payments, batch by batch in turns."""
    troubles = dataclasses.replace(Troubles(), late=0.05, out_of_order=0.1)
    made = simulate(
        Params(
            payments=6_000,
            customers=120,
            terminals=400,
            partitions=PARTITIONS,
            troubles=troubles,
        )
    ).records
    batches = []
    for partition in range(PARTITIONS):
        mine = made.filter(pl.col("partition") == partition)
        for first in range(0, mine.height, 700):
            part = mine.slice(first, 700)
            headers = [None if h is None else [(SCHEMA_HEADER, h)] for h in part["header"]]
            n = part.height
            batches.append(
                RawBatch(
                    Progress("payments", partition, PARTITIONS, first + n - 1),
                    np.arange(first, first + n),
                    np.full(n, -1),
                    part["key"].to_list(),
                    part["value"].to_list(),
                    headers,
                )
            )
    batches.sort(key=lambda b: b.progress.offset)
    last = {b.progress.partition: b.progress for b in batches}
    batches += [RawBatch(progress.at(END_OF_INPUT)) for progress in last.values()]
    found: list = []
    settings = SETTINGS.model_copy(update={"allowed_lateness": np.timedelta64(60, "s").item()})
    run_main(
        build(
            PAYMENTS,
            TestingSource(batches),
            TestingSink(found),
            TestingSink([]),
            parts(),
            settings,
        )
    )
    return {
        table.name: pl.concat(
            [f for name, f in found if name == table.name and isinstance(f, pl.DataFrame)]
            or [pl.DataFrame(schema=table.columns)]
        )
        for table in PAYMENTS.all_tables
    }


@pytest.mark.parametrize("name", QUERIES)
def test_duckdb_makes_the_same_rows_of_silver(rows, name):
    silver = rows["silver/payments"].to_arrow()  # DuckDB finds it by its name
    gold = rows[name]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("silver", silver)
        connection.execute(f"CREATE VIEW seen AS {SEEN}")
        made = pl.DataFrame(pl.from_arrow(connection.sql(QUERIES[name]).to_arrow_table()))
    times = (
        pl.col("window_start", "window_end").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )
    made = made.with_columns(times)
    keys = made.columns[: made.columns.index("window_end") + 1]
    windows = PAYMENTS.windowed(LATENESS_US)[name.removeprefix("gold/")]
    found = newest(gold, windows)
    assert found.height == made.height > 100
    assert found.select(made.columns).sort(keys).equals(made.sort(keys))


def test_there_is_something_late_and_something_revised(rows):
    assert set(rows["gold/late"]["step"]) == {
        "terminal_minute",
        "category_hour",
        "card_sessions",
    }
    assert rows["gold/category_hour"]["revision"].max() == 1

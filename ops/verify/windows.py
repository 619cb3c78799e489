"""The windows and the late records, worked out anew from silver by another engine.

DataFusion, which the deltalake package carries, reads the files and runs SQL that shares no
code with the flow.
"""

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from ops.newest import newest_rows
from ops.verify.report import Check, only_once

# The watermark is derived here as well, not read from the column.
_SEEN: Final = """
SELECT
    source_partition, source_offset, event_time, watermark, payment_id, card_id, terminal_id,
    merchant_category, country, amount_minor,
    max(event_time) OVER (
        PARTITION BY source_topic, source_partition ORDER BY source_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) - INTERVAL '{bound} microseconds' AS derived
FROM silver
"""

# A row for each record and window that it belongs to. A record is late for its window if the
# window's end plus the allowed lateness is at or before the watermark of its own partition
# just before it; it is late for a session if its own time plus the lateness is.
_JUDGED: Final = {
    "terminal_minute": """
SELECT
    *, start + INTERVAL '1 minute' AS finish,
    coalesce(start + INTERVAL '1 minute' + INTERVAL '{lateness} microseconds' <= derived, false)
        AS too_late
FROM (
    SELECT
        *, date_bin(INTERVAL '1 minute', event_time, TIMESTAMP '1970-01-01T00:00:00Z') AS start
    FROM seen
)
""",
    "category_hour": """
SELECT
    *, start + INTERVAL '1 hour' AS finish,
    coalesce(start + INTERVAL '1 hour' + INTERVAL '{lateness} microseconds' <= derived, false)
        AS too_late
FROM (
    SELECT
        seen.*,
        date_bin(INTERVAL '5 minutes', event_time, TIMESTAMP '1970-01-01T00:00:00Z')
            - steps.back AS start
    FROM seen CROSS JOIN (
        VALUES
            (INTERVAL '0 minutes'), (INTERVAL '5 minutes'), (INTERVAL '10 minutes'),
            (INTERVAL '15 minutes'), (INTERVAL '20 minutes'), (INTERVAL '25 minutes'),
            (INTERVAL '30 minutes'), (INTERVAL '35 minutes'), (INTERVAL '40 minutes'),
            (INTERVAL '45 minutes'), (INTERVAL '50 minutes'), (INTERVAL '55 minutes')
    ) AS steps (back)
)
""",
    "card_sessions": """
SELECT
    *, event_time AS start, event_time + INTERVAL '30 minutes' AS finish,
    coalesce(event_time + INTERVAL '{lateness} microseconds' <= derived, false) AS too_late
FROM seen
""",
}

# The records that count: all but those in gold/late.
_COUNTED: Final = """
SELECT j.* FROM judged AS j
LEFT ANTI JOIN (SELECT * FROM late WHERE step = '{step}') AS l
    ON j.source_partition = l.source_partition AND j.source_offset = l.source_offset
    AND j.start = l.window_start
"""

# Distinct cards and terminals are counted in two steps, by a group for each of them first: a
# set for each of a million groups would take gigabytes.
_PANES: Final = {
    "terminal_minute": """
SELECT
    terminal_id, start AS window_start, finish AS window_end,
    sum(n) AS payments, sum(total) AS amount_minor_sum,
    max(largest) AS amount_minor_max, count(*) AS cards
FROM (
    SELECT
        terminal_id, start, finish, card_id,
        count(*) AS n, sum(amount_minor) AS total, max(amount_minor) AS largest
    FROM counted GROUP BY terminal_id, start, finish, card_id
)
GROUP BY terminal_id, start, finish
""",
    "category_hour": """
SELECT
    merchant_category, country, start AS window_start, finish AS window_end,
    sum(n) AS payments, sum(total) AS amount_minor_sum,
    max(largest) AS amount_minor_max, count(*) AS cards
FROM (
    SELECT
        merchant_category, country, start, finish, card_id,
        count(*) AS n, sum(amount_minor) AS total, max(amount_minor) AS largest
    FROM counted GROUP BY merchant_category, country, start, finish, card_id
)
GROUP BY merchant_category, country, start, finish
""",
    # A payment begins a session where the card's one before it is 30 minutes or more ago, and
    # ends one where the card's next begins another.
    "card_sessions": """
SELECT
    card_id, min(earliest) AS window_start,
    max(latest) + INTERVAL '30 minutes' AS window_end,
    sum(n) AS payments, sum(total) AS amount_minor_sum,
    max(largest) AS amount_minor_max, count(*) AS terminals,
    max(first_id) AS first_payment_id, max(last_id) AS last_payment_id
FROM (
    SELECT
        card_id, session, terminal_id,
        min(event_time) AS earliest, max(event_time) AS latest,
        count(*) AS n, sum(amount_minor) AS total, max(amount_minor) AS largest,
        max(CASE WHEN opens = 1 THEN payment_id END) AS first_id,
        max(CASE WHEN closes = 1 THEN payment_id END) AS last_id
    FROM (
        SELECT
            *,
            sum(opens) OVER (
                PARTITION BY card_id ORDER BY event_time, source_partition, source_offset
                ROWS UNBOUNDED PRECEDING
            ) AS session,
            coalesce(lead(opens) OVER (
                PARTITION BY card_id ORDER BY event_time, source_partition, source_offset
            ), 1) AS closes
        FROM (
            SELECT *, CASE WHEN event_time < lag(event_time) OVER (
                PARTITION BY card_id ORDER BY event_time, source_partition, source_offset
            ) + INTERVAL '30 minutes' THEN 0 ELSE 1 END AS opens
            FROM counted
        )
    )
    GROUP BY card_id, session, terminal_id
)
GROUP BY card_id, session
""",
}

# A session is written at the first multiple of five minutes at or after its end.
_GRAIN: Final = {"terminal_minute": "1us", "category_hour": "1us", "card_sessions": "5m"}

# Beyond so many the distinct cards are an estimate, good to 1.6 %: 10 % is six times that.
_EXACT: Final = {"category_hour": ("cards", 10_000)}


def _frame(query: Any) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(pa.table(query.read_all())))
    times = pl.selectors.datetime().cast(pl.Datetime("us"))
    return frame.with_columns(times.dt.replace_time_zone("UTC"))


def check_windows(
    silver: DeltaTable,
    late: DeltaTable,
    panes: Mapping[str, DeltaTable],
    *,
    bound: int,
    lateness: int,
    watermarks: Mapping[str, int],
) -> list[Check]:
    """Compare the windowed gold tables and gold/late, row for row, with what silver makes them.

    `panes` has the gold tables by the name of their windows. `bound` (the out-of-orderness),
    `lateness` and `watermarks`, by name those up to which each table has its panes, are in µs.
    """
    engine = QueryBuilder().register("silver", silver).register("late", late)
    seen = f"seen AS ({_SEEN.format(bound=bound)})"
    rows = _frame(engine.execute(f"WITH {seen} SELECT * FROM seen"))  # noqa: S608 # our own words
    wrong = rows.filter(~pl.col("watermark").eq_missing(pl.col("derived")))
    checks = [
        Check.of(
            "silver's watermark is what its partition's records make it",
            rows.height,
            wrong.select("source_partition", "source_offset", "watermark", "derived"),
        )
    ]
    for name, table in panes.items():
        engine = engine.register(name, table)
        judged = f"{seen}, judged AS ({_JUDGED[name].format(lateness=lateness)})"
        checks.append(_check_late(engine, name, judged, lateness))
        checks.append(_check_panes(engine, name, judged, lateness, watermarks[name]))
    return checks


def _check_late(engine: QueryBuilder, name: str, judged: str, lateness: int) -> Check:
    place = ["source_partition", "source_offset", "window_start", "window_end"]
    expected = _frame(
        engine.execute(
            f"WITH {judged} SELECT source_partition, source_offset, start AS window_start, "  # noqa: S608 # our own words
            "finish AS window_end FROM judged WHERE too_late"
        )
    )
    recorded = _frame(
        engine.execute(
            f"SELECT {', '.join(place)}, event_time, watermark FROM late WHERE step = '{name}'"  # noqa: S608
        )
    )
    # A partition that was idle while the others went on is judged by the flow's watermark,
    # which gold/late records: such a row must be late by that.
    end = pl.col("event_time") if name == "card_sessions" else pl.col("window_end")
    missed = pl.col("watermark") >= end + pl.duration(microseconds=lateness)
    woken = recorded.join(expected, on=place, how="anti").filter(missed)
    return only_once(
        f"gold/late holds every record that was late for its {name}, once",
        pl.concat([expected, woken.select(place)]),
        recorded,
    )


def _check_panes(
    engine: QueryBuilder, name: str, judged: str, lateness: int, watermark: int
) -> Check:
    counted = f"counted AS ({_COUNTED.format(step=name)})"
    made = _frame(engine.execute(f"WITH {judged}, {counted} {_PANES[name]}"))
    place = made.columns.index("window_end") + 1
    columns = [*made.columns[:place], "revision", *made.columns[place:]]
    ends = pl.col("window_end").dt.offset_by("-1us").dt.truncate(_GRAIN[name])
    due = ends.dt.offset_by(_GRAIN[name]).dt.epoch("us") + lateness <= watermark
    sessions = name == "card_sessions"
    actual = _frame(engine.execute(newest_rows(name, columns, sessions=sessions))).drop(
        "revision"
    )
    # What waits for its last revision is not what it will be yet.
    actual = actual.filter(due)
    if sessions and lateness:
        actual = _without_waiting(actual, made.filter(~due))
    expected = made.filter(due)
    if name in _EXACT:
        expected = _with_estimates(expected, actual, *_EXACT[name])
    return only_once(f"gold/{name} equals silver's windows, row for row", expected, actual)


def _without_waiting(actual: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    """Return sessions without those that others go on, which wait for their end."""
    keys = actual.columns[: actual.columns.index("window_start")]
    both = actual.sort("window_start").join_asof(
        waiting.select(*keys, "window_start", until="window_end").sort("window_start"),
        on="window_start",
        by=keys,
        check_sortedness=False,
    )
    ended = pl.col("until").is_null() | (pl.col("until") <= pl.col("window_start"))
    return both.filter(ended).drop("until")


def _with_estimates(
    expected: pl.DataFrame, actual: pl.DataFrame, column: str, exact: int
) -> pl.DataFrame:
    """Put the estimates that are near enough in the place of distinct counts above `exact`."""
    keys = expected.columns[: expected.columns.index("window_end") + 1]
    both = expected.join(actual.select(*keys, told=column), on=keys, how="left")
    near = (pl.col("told") - pl.col(column)).abs() <= 0.1 * pl.col(column)
    estimate = pl.when((pl.col(column) > exact) & near).then("told").otherwise(column)
    return both.with_columns(estimate.alias(column)).drop("told")

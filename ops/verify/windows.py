"""The windows and the late records, worked out anew from silver by another engine.

DataFusion, which the deltalake package carries, reads the files and runs SQL that shares no
code with the flow.
"""

from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from ops.verify.report import Check, only_once

# A record is late for its window if the window's end plus the allowed lateness is at or
# before the watermark of its own partition just before it. The watermark is derived here as
# well, not read from the column.
_JUDGED = """
WITH seen AS (
    SELECT
        source_partition, source_offset, terminal_id, card_id, amount_minor, event_time,
        watermark,
        max(event_time) OVER (
            PARTITION BY source_topic, source_partition ORDER BY source_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) - INTERVAL '{bound} microseconds' AS derived,
        date_bin(INTERVAL '1 minute', event_time, TIMESTAMP '1970-01-01T00:00:00Z') AS start
    FROM silver
)
SELECT
    *, start + INTERVAL '1 minute' AS finish,
    coalesce(start + INTERVAL '1 minute' + INTERVAL '{lateness} microseconds' <= derived, false)
        AS too_late
FROM seen
"""

_LATE = """
SELECT source_partition, source_offset, start AS window_start, finish AS window_end, too_late
FROM judged
"""

_PANES = """
SELECT
    j.terminal_id, j.start AS window_start, j.finish AS window_end,
    count(*) AS payments, sum(j.amount_minor) AS amount_minor_sum,
    max(j.amount_minor) AS amount_minor_max, count(DISTINCT j.card_id) AS cards
FROM judged AS j
LEFT ANTI JOIN late AS l
    ON j.source_partition = l.source_partition AND j.source_offset = l.source_offset
GROUP BY j.terminal_id, j.start, j.finish
"""

_TIME = pl.Datetime("us", "UTC")


def _frame(query: Any) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(pa.table(query.read_all())))
    return frame.with_columns(
        pl.selectors.datetime().cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    )


def check_windows(
    silver: DeltaTable, late: DeltaTable, panes: DeltaTable, *,
    bound: int, lateness: int, watermark: int,
) -> list[Check]:  # fmt: skip
    """Compare gold/terminal_minute and gold/late, row for row, with what silver makes them.

    `bound` (the out-of-orderness), `lateness` and `watermark`, the flow's up to which windows
    have closed, are in µs.
    """
    engine = QueryBuilder().register("silver", silver).register("late", late)
    judged = _JUDGED.format(bound=bound, lateness=lateness)
    engine = engine.register("panes", panes)
    rows = _frame(engine.execute(f"WITH judged AS ({judged}) SELECT * FROM judged"))
    wrong = rows.filter(~pl.col("watermark").eq_missing(pl.col("derived")))
    checks = [
        Check.of(
            "silver's watermark is what its partition's records make it",
            rows.height,
            wrong.select("source_partition", "source_offset", "watermark", "derived"),
        )
    ]
    recorded = _frame(
        engine.execute(
            "SELECT source_partition, source_offset, window_start, window_end, watermark FROM late"
        )
    )
    place = ["source_partition", "source_offset", "window_start", "window_end"]
    expected = rows.filter("too_late").rename({"start": "window_start", "finish": "window_end"})
    # A partition that was idle while the others went on is judged by the flow's watermark,
    # which gold/late records: such a row must be late by that.
    closes = pl.col("window_end") + pl.duration(microseconds=lateness)
    woken = recorded.join(expected, on=place, how="anti").filter(pl.col("watermark") >= closes)
    checks.append(
        only_once(
            "gold/late holds every record that was late for its window, once",
            pl.concat([expected.select(place), woken.select(place)]),
            recorded,
        )
    )
    made = _frame(engine.execute(f"WITH judged AS ({judged}) {_PANES}"))
    closed = made.filter(closes.dt.epoch("us") <= watermark)
    actual = _frame(engine.execute(f"SELECT {', '.join(made.columns)} FROM panes"))
    checks.append(
        only_once("gold/terminal_minute equals silver's windows, row for row", closed, actual)
    )
    return checks

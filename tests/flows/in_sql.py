"""The windowed tables of payments, made of silver by DuckDB: what a window is, said again."""

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
DAY = f"""
SELECT {{keys}}, make_timestamp(s) AS window_start, make_timestamp(s + 86400000000) AS window_end,
    max(CASE WHEN mark >= s + 86400000000 THEN 1 ELSE 0 END)::INTEGER AS revision,
    count(*) AS payments, sum(amount_minor)::BIGINT AS amount_minor_sum,
    max(amount_minor) AS amount_minor_max
FROM (SELECT *, t // 86400000000 * 86400000000 AS s FROM seen)
WHERE mark IS NULL OR mark < s + 86400000000 + {LATENESS_US}
GROUP BY {{keys}}, s
"""
QUERIES = {
    "gold/terminal_minute": TERMINAL_MINUTE,
    "gold/category_hour": CATEGORY_HOUR,
    "gold/terminal_day": DAY.format(keys="terminal_id, merchant_category, country, currency"),
    "gold/customer_day": DAY.format(keys="customer_id, currency"),
    "gold/card_sessions": CARD_SESSIONS,
}

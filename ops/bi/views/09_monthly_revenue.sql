-- Revenue of each month, by currency; the newest month has the days that have closed.
-- month: its first day, UTC
-- currency: ISO 4217
-- days: days with a payment
-- payments: how many
-- revenue: their sum, in units of the currency
-- revenue_per_day: revenue by days, in units of the currency, as a float
-- previous_revenue: that of the month before, in units of the currency; null if there was none
-- change: revenue by previous_revenue, less 1; null if there was none
WITH sold AS (
    SELECT
        month, currency, COUNT(DISTINCT day) AS days, CAST(SUM(payments) AS BIGINT) AS payments,
        SUM(revenue) AS revenue
    FROM bi.terminal_days
    GROUP BY month, currency
),
compared AS (
    SELECT sold.*, earlier.revenue AS previous_revenue
    FROM sold
    LEFT JOIN sold AS earlier
        ON earlier.currency = sold.currency AND DATE_DIFF('month', earlier.month, sold.month) = 1
)
SELECT
    month, currency, days, payments, revenue,
    CAST(revenue AS DOUBLE) / days AS revenue_per_day,
    previous_revenue,
    CAST(revenue AS DOUBLE) / NULLIF(CAST(previous_revenue AS DOUBLE), 0) - 1 AS change
FROM compared

-- The ten merchant categories of each currency with most revenue in the last 30 days.
-- place: 1 for the one with most
-- merchant_category: ISO 18245 code
-- currency: ISO 4217
-- payments: how many in these 30 days
-- revenue: their sum, in units of the currency
-- previous_revenue: that of the 30 days before, in units of the currency; 0 if there was none
-- growth: revenue by previous_revenue, less 1; null where there was none
WITH newest AS (SELECT MAX(day) AS day FROM bi.terminal_days),
sold AS (
    SELECT
        d.merchant_category, d.currency, d.payments, d.revenue,
        DATE_DIFF('day', d.day, newest.day) AS age
    FROM bi.terminal_days AS d
    CROSS JOIN newest
),
summed AS (
    SELECT
        merchant_category, currency,
        CAST(SUM(CASE WHEN age < 30 THEN payments ELSE 0 END) AS BIGINT) AS payments,
        SUM(CASE WHEN age < 30 THEN revenue ELSE 0 END) AS revenue,
        SUM(CASE WHEN age >= 30 THEN revenue ELSE 0 END) AS previous_revenue
    FROM sold
    WHERE age < 60
    GROUP BY merchant_category, currency
),
placed AS (
    SELECT summed.*, RANK() OVER (PARTITION BY currency ORDER BY revenue DESC) AS place
    FROM summed
    WHERE payments > 0
)
SELECT
    place, merchant_category, currency, payments, revenue, previous_revenue,
    CAST(revenue AS DOUBLE) / NULLIF(CAST(previous_revenue AS DOUBLE), 0) - 1 AS growth
FROM placed
WHERE place <= 10

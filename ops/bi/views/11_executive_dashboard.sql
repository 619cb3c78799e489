-- One row for each currency: the newest day, the last 7 and 30, and the 30 before.
-- currency: ISO 4217
-- newest_day: the newest day that has closed, of any currency, UTC
-- payments_1d: payments of that day
-- revenue_1d: their sum, in units of the currency
-- payments_7d: payments of the last 7 days
-- revenue_7d: their sum, in units of the currency
-- payments_30d: payments of the last 30 days
-- revenue_30d: their sum, in units of the currency
-- previous_revenue_30d: revenue of the 30 days before, in units of the currency
-- growth_30d: revenue_30d by that, less 1; null if there was none
-- average_payment_30d: revenue by payments of the last 30 days, in units of the currency
-- terminals_30d: different terminals that were paid at in the last 30 days
-- customers_30d: different customers that paid in the last 30 days
-- live_alerts_30d: alerts of live rules in the last 30 days, of all currencies
WITH newest AS (SELECT MAX(day) AS day FROM bi.terminal_days),
sold AS (
    SELECT
        d.terminal_id, d.currency, d.payments, d.revenue,
        DATE_DIFF('day', d.day, newest.day) AS age
    FROM bi.terminal_days AS d
    CROSS JOIN newest
),
summed AS (
    SELECT
        currency,
        CAST(SUM(CASE WHEN age < 1 THEN payments ELSE 0 END) AS BIGINT) AS payments_1d,
        SUM(CASE WHEN age < 1 THEN revenue ELSE 0 END) AS revenue_1d,
        CAST(SUM(CASE WHEN age < 7 THEN payments ELSE 0 END) AS BIGINT) AS payments_7d,
        SUM(CASE WHEN age < 7 THEN revenue ELSE 0 END) AS revenue_7d,
        CAST(SUM(CASE WHEN age < 30 THEN payments ELSE 0 END) AS BIGINT) AS payments_30d,
        SUM(CASE WHEN age < 30 THEN revenue ELSE 0 END) AS revenue_30d,
        SUM(CASE WHEN age >= 30 THEN revenue ELSE 0 END) AS previous_revenue_30d,
        COUNT(DISTINCT CASE WHEN age < 30 THEN terminal_id END) AS terminals_30d
    FROM sold
    WHERE age < 60
    GROUP BY currency
),
paid AS (
    SELECT d.currency, COUNT(DISTINCT d.customer_id) AS customers_30d
    FROM bi.customer_days AS d
    CROSS JOIN newest
    WHERE DATE_DIFF('day', d.day, newest.day) < 30
    GROUP BY d.currency
),
alerted AS (
    SELECT CAST(SUM(f.live_alerts) AS BIGINT) AS live_alerts_30d
    FROM bi.alert_funnel AS f
    CROSS JOIN newest
    WHERE DATE_DIFF('day', f.day, newest.day) < 30
)
SELECT
    summed.currency, newest.day AS newest_day, summed.payments_1d, summed.revenue_1d,
    summed.payments_7d, summed.revenue_7d, summed.payments_30d, summed.revenue_30d,
    summed.previous_revenue_30d,
    CAST(summed.revenue_30d AS DOUBLE)
        / NULLIF(CAST(summed.previous_revenue_30d AS DOUBLE), 0) - 1 AS growth_30d,
    CAST(summed.revenue_30d AS DOUBLE) / NULLIF(summed.payments_30d, 0) AS average_payment_30d,
    summed.terminals_30d, COALESCE(paid.customers_30d, 0) AS customers_30d,
    alerted.live_alerts_30d
FROM summed
CROSS JOIN newest
CROSS JOIN alerted
LEFT JOIN paid ON paid.currency = summed.currency

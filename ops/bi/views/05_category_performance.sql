-- Merchant categories by country and currency, of all days.
-- merchant_category: ISO 18245 code
-- country: ISO 3166-1 alpha-2, the terminal's
-- currency: ISO 4217
-- payments: how many
-- revenue: their sum, in units of the currency
-- revenue_share: its share of the currency's revenue, 0 to 1
-- average_payment: revenue by payments, in units of the currency, as a float
-- largest_payment: the largest, in units of the currency
-- terminals: different terminals that were paid at
-- first_day: the first day with a payment, UTC
-- last_day: the last one, UTC
WITH sold AS (
    SELECT
        merchant_category, country, currency, CAST(SUM(payments) AS BIGINT) AS payments,
        SUM(revenue) AS revenue, MAX(largest_payment) AS largest_payment,
        COUNT(DISTINCT terminal_id) AS terminals, MIN(day) AS first_day, MAX(day) AS last_day
    FROM bi.terminal_days
    GROUP BY merchant_category, country, currency
),
totals AS (SELECT currency, SUM(revenue) AS revenue FROM sold GROUP BY currency)
SELECT
    sold.merchant_category, sold.country, sold.currency, sold.payments, sold.revenue,
    CAST(sold.revenue AS DOUBLE) / NULLIF(CAST(totals.revenue AS DOUBLE), 0) AS revenue_share,
    CAST(sold.revenue AS DOUBLE) / sold.payments AS average_payment,
    sold.largest_payment, sold.terminals, sold.first_day, sold.last_day
FROM sold
INNER JOIN totals ON totals.currency = sold.currency

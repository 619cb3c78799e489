-- Sales of each day, by currency.
-- day: the day, UTC
-- currency: ISO 4217
-- payments: how many
-- revenue: their sum, in units of the currency
-- average_payment: revenue by payments, in units of the currency, as a float
-- largest_payment: the largest, in units of the currency
-- terminals: different terminals that were paid at
-- customers: different customers that paid
WITH sold AS (
    SELECT
        day, currency, CAST(SUM(payments) AS BIGINT) AS payments, SUM(revenue) AS revenue,
        MAX(largest_payment) AS largest_payment, COUNT(DISTINCT terminal_id) AS terminals
    FROM bi.terminal_days
    GROUP BY day, currency
),
paid AS (
    SELECT day, currency, COUNT(*) AS customers FROM bi.customer_days GROUP BY day, currency
)
SELECT
    sold.day, sold.currency, sold.payments, sold.revenue,
    CAST(sold.revenue AS DOUBLE) / sold.payments AS average_payment,
    sold.largest_payment, sold.terminals, paid.customers
FROM sold
LEFT JOIN paid ON paid.day = sold.day AND paid.currency = sold.currency

-- Terminals beside their peers, which are those of the same category, country and currency, in the
-- last 30 days.
-- terminal_id: the terminal
-- merchant_category: ISO 18245 code
-- country: ISO 3166-1 alpha-2
-- currency: ISO 4217
-- payments: how many
-- revenue: their sum, in units of the currency
-- average_payment: revenue by payments, in units of the currency, as a float
-- peers: terminals it is compared with, itself included
-- peers_revenue: the mean of their revenue, in units of the currency, as a float
-- to_peers: revenue by that mean; 1 is as the mean
-- place: 1 for the one among them with most revenue
WITH newest AS (SELECT MAX(day) AS day FROM bi.terminal_days),
sold AS (
    SELECT
        d.terminal_id, d.merchant_category, d.country, d.currency,
        CAST(SUM(d.payments) AS BIGINT) AS payments, SUM(d.revenue) AS revenue
    FROM bi.terminal_days AS d
    CROSS JOIN newest
    WHERE DATE_DIFF('day', d.day, newest.day) < 30
    GROUP BY d.terminal_id, d.merchant_category, d.country, d.currency
),
compared AS (
    SELECT
        sold.*,
        COUNT(*) OVER (PARTITION BY merchant_category, country, currency) AS peers,
        AVG(CAST(revenue AS DOUBLE))
            OVER (PARTITION BY merchant_category, country, currency) AS peers_revenue,
        RANK() OVER (
            PARTITION BY merchant_category, country, currency ORDER BY revenue DESC
        ) AS place
    FROM sold
)
SELECT
    terminal_id, merchant_category, country, currency, payments, revenue,
    CAST(revenue AS DOUBLE) / payments AS average_payment,
    peers, peers_revenue,
    CAST(revenue AS DOUBLE) / NULLIF(peers_revenue, 0) AS to_peers,
    place
FROM compared

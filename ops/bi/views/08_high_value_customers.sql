-- The hundred customers of segment HIGH who spent most in each currency, in the last 90 days.
-- place: 1 for who spent most
-- customer_id: the customer
-- currency: ISO 4217
-- payments: how many
-- spend: their sum, in units of the currency
-- spend_share: its share of what all customers spent in the currency, 0 to 1
-- average_payment: spend by payments, in units of the currency, as a float
-- largest_payment: the largest, in units of the currency
-- active_days: days with a payment
-- last_day: the last of them, UTC
WITH totals AS (
    SELECT currency, SUM(spend) AS spend FROM bi.customer_segments GROUP BY currency
)
SELECT
    c.place, c.customer_id, c.currency, c.payments, c.spend,
    CAST(c.spend AS DOUBLE) / NULLIF(CAST(totals.spend AS DOUBLE), 0) AS spend_share,
    CAST(c.spend AS DOUBLE) / c.payments AS average_payment,
    c.largest_payment, c.active_days, c.last_day
FROM bi.customer_segments AS c
INNER JOIN totals ON totals.currency = c.currency
WHERE c.segment = 'HIGH' AND c.place <= 100

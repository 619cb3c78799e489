-- Customers by what they spent in the last 90 days: of each currency the first tenth is HIGH, up to
-- the half MEDIUM, the others LOW; equal spend is of one segment.
-- customer_id: the customer
-- currency: ISO 4217; who pays in two has a row and a segment for each
-- segment: HIGH, MEDIUM or LOW
-- place: 1 for who spent most in the currency
-- payments: how many
-- spend: their sum, in units of the currency
-- largest_payment: the largest, in units of the currency
-- active_days: days with a payment
-- first_day: the first of them, UTC
-- last_day: the last of them, UTC
WITH newest AS (SELECT MAX(day) AS day FROM bi.customer_days),
spent AS (
    SELECT
        d.customer_id, d.currency, CAST(SUM(d.payments) AS BIGINT) AS payments,
        SUM(d.spend) AS spend,
        MAX(d.largest_payment) AS largest_payment, COUNT(*) AS active_days,
        MIN(d.day) AS first_day, MAX(d.day) AS last_day
    FROM bi.customer_days AS d
    CROSS JOIN newest
    WHERE DATE_DIFF('day', d.day, newest.day) < 90
    GROUP BY d.customer_id, d.currency
),
placed AS (
    SELECT
        spent.*,
        RANK() OVER (PARTITION BY currency ORDER BY spend DESC) AS place,
        PERCENT_RANK() OVER (PARTITION BY currency ORDER BY spend DESC) AS above
    FROM spent
)
SELECT
    customer_id, currency,
    CASE WHEN above < 0.1 THEN 'HIGH' WHEN above < 0.5 THEN 'MEDIUM' ELSE 'LOW' END AS segment,
    place, payments, spend, largest_payment, active_days, first_day, last_day
FROM placed

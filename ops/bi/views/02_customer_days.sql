-- Payments of each customer and day that has closed: the newest revision of gold/customer_day.
-- day: the day, UTC
-- customer_id: the customer
-- currency: ISO 4217
-- payments: how many
-- spend: their sum, in units of the currency
-- largest_payment: the largest, in units of the currency
SELECT
    d.day, d.customer_id, d.currency, d.payments,
    {amount:d.amount_minor_sum} AS spend,
    {amount:d.amount_minor_max} AS largest_payment
FROM ({newest:gold/customer_day}) AS d

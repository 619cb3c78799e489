-- Payments of each terminal and day that has closed: the newest revision of gold/terminal_day.
-- day: the day, UTC
-- month: its month's first day
-- terminal_id: the terminal
-- merchant_category: ISO 18245 code of its payments; one that changes has a row for each
-- country: ISO 3166-1 alpha-2
-- currency: ISO 4217
-- payments: how many
-- revenue: their sum, in units of the currency (euros, not cents)
-- largest_payment: the largest, in units of the currency
SELECT
    d.day, d.month, d.terminal_id, d.merchant_category, d.country, d.currency, d.payments,
    {amount:d.amount_minor_sum} AS revenue,
    {amount:d.amount_minor_max} AS largest_payment
FROM ({newest:gold/terminal_day}) AS d

-- From payments to what was done about them, of each day that has closed; counts are of all
-- currencies.
-- day: the day of the payments, UTC
-- payments: how many
-- hits: alerts of rules, live or not
-- payments_hit: different payments with one
-- live_alerts: alerts of live rules
-- payments_alerted: different payments with one
-- payments_blocked: different payments that a live rule would block
-- cards_alerted: different cards with an alert of a live rule
-- alerted_share: payments_alerted by payments, 0 to 1
WITH paid AS (
    SELECT day, CAST(SUM(payments) AS BIGINT) AS payments FROM bi.terminal_days GROUP BY day
),
told AS (
    SELECT
        day, payment_id, card_id, action,
        CASE WHEN COALESCE(rule_status, 'live') = 'live' THEN 1 ELSE 0 END AS live
    FROM bi.gold_alerts
),
found AS (
    SELECT
        day, COUNT(*) AS hits, COUNT(DISTINCT payment_id) AS payments_hit,
        CAST(SUM(live) AS BIGINT) AS live_alerts,
        COUNT(DISTINCT CASE WHEN live = 1 THEN payment_id END) AS payments_alerted,
        COUNT(DISTINCT CASE WHEN live = 1 AND action = 'block' THEN payment_id END)
            AS payments_blocked,
        COUNT(DISTINCT CASE WHEN live = 1 THEN card_id END) AS cards_alerted
    FROM told
    GROUP BY day
)
SELECT
    paid.day, paid.payments,
    COALESCE(found.hits, 0) AS hits,
    COALESCE(found.payments_hit, 0) AS payments_hit,
    COALESCE(found.live_alerts, 0) AS live_alerts,
    COALESCE(found.payments_alerted, 0) AS payments_alerted,
    COALESCE(found.payments_blocked, 0) AS payments_blocked,
    COALESCE(found.cards_alerted, 0) AS cards_alerted,
    CAST(COALESCE(found.payments_alerted, 0) AS DOUBLE) / paid.payments AS alerted_share
FROM paid
LEFT JOIN found ON found.day = paid.day

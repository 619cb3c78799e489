-- What became of the records of each day that has closed. The one view that needs more than gold:
-- of quarantine/payments and silver/duplicates it tells counts alone.
-- day: of the event, UTC; of a refused record, which may have none, of its Kafka timestamp
-- outcome: counted, late (for the day's windows; it is in silver), duplicate or refused
-- stage: of a refused record, where it was refused; else empty
-- code: of a refused record, why; else empty
-- records: how many
-- share: of the day's records, 0 to 1
WITH newest AS (SELECT MAX(day) AS day FROM bi.terminal_days),
told AS (
    SELECT
        day, 'counted' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(payments) AS BIGINT) AS records
    FROM bi.terminal_days
    GROUP BY day
    UNION ALL
    SELECT day, 'late' AS outcome, '' AS stage, '' AS code, COUNT(*) AS records
    FROM bi.gold_late
    WHERE step = 'terminal_day'
    GROUP BY day
    UNION ALL
    SELECT day, 'duplicate' AS outcome, '' AS stage, '' AS code, COUNT(*) AS records
    FROM bi.silver_duplicates
    GROUP BY day
    UNION ALL
    SELECT day, 'refused' AS outcome, stage, code, COUNT(*) AS records
    FROM bi.quarantine_payments
    GROUP BY day, stage, code
),
totals AS (SELECT day, CAST(SUM(records) AS BIGINT) AS records FROM told GROUP BY day)
SELECT
    told.day, told.outcome, told.stage, told.code, told.records,
    CAST(told.records AS DOUBLE) / totals.records AS share
FROM told
INNER JOIN totals ON totals.day = told.day
CROSS JOIN newest
WHERE told.day <= newest.day

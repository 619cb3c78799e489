-- What became of the records of each day, as far as is known. The one view that needs more than gold:
-- of quarantine/payments and silver/duplicates it tells counts alone.
-- day: of the event, UTC; of a refused record of its Kafka timestamp, empty if that has none
-- outcome: counted, late (for the day's windows; it is in silver), duplicate or refused
-- stage: of a refused record, where it was refused; else empty
-- code: of a refused record, why; else empty
-- records: how many
-- share: of the day's records, 0 to 1; empty where none is counted, as the day has not closed
WITH told AS (
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
totals AS (
    SELECT
        day, SUM(records) AS records,
        SUM(CASE WHEN outcome = 'counted' THEN records ELSE 0 END) AS counted
    FROM told
    GROUP BY day
)
SELECT
    told.day, told.outcome, told.stage, told.code, told.records,
    CASE WHEN totals.counted > 0 THEN CAST(told.records AS DOUBLE) / totals.records END AS share
FROM told
LEFT JOIN totals ON totals.day = told.day

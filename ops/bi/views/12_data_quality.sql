-- What became of the records of each day, minute by minute in gold/data_quality; the newest minutes
-- of each partition follow with its next records.
-- day: of the record's Kafka time, UTC; empty if it has none
-- outcome: in time, late (its partition's watermark had passed it; both are in silver), duplicate or refused; and, of records counted there, repaired or failed (a rule failed on it), and missing: offsets without a record, such as a transaction's markers
-- stage: of a refused or failed record, where that was; else empty
-- code: of a refused or failed record, why; else empty
-- records: how many
-- share: of the day's records, 0 to 1; empty for repaired, failed and missing
WITH told AS (
    SELECT
        day, 'in time' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(valid) - SUM(late) AS BIGINT) AS records, 1 AS counted
    FROM bi.gold_data_quality
    GROUP BY day
    UNION ALL
    SELECT
        day, 'late' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(late) AS BIGINT) AS records, 1 AS counted
    FROM bi.gold_data_quality
    GROUP BY day
    UNION ALL
    SELECT
        day, 'duplicate' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(duplicates) AS BIGINT) AS records, 1 AS counted
    FROM bi.gold_data_quality
    GROUP BY day
    UNION ALL
    SELECT
        day, CASE WHEN stage = 'rule' THEN 'failed' ELSE 'refused' END AS outcome, stage, code,
        CAST(SUM(violations) AS BIGINT) AS records,
        CASE WHEN stage = 'rule' THEN 0 ELSE 1 END AS counted
    FROM bi.gold_data_quality
    WHERE stage IS NOT NULL
    GROUP BY day, stage, code
    UNION ALL
    SELECT
        day, 'repaired' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(repaired) AS BIGINT) AS records, 0 AS counted
    FROM bi.gold_data_quality
    GROUP BY day
    UNION ALL
    SELECT
        day, 'missing' AS outcome, '' AS stage, '' AS code,
        CAST(SUM(missing) AS BIGINT) AS records, 0 AS counted
    FROM bi.gold_data_quality
    GROUP BY day
),
totals AS (
    SELECT day, SUM(records) AS records
    FROM bi.gold_data_quality
    GROUP BY day
)
SELECT
    told.day, told.outcome, told.stage, told.code, told.records,
    CASE WHEN told.counted = 1 THEN CAST(told.records AS DOUBLE) / totals.records END AS share
FROM told
LEFT JOIN totals ON totals.day = told.day
WHERE told.records > 0

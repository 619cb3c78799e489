"""Metrics: what a flow did, on Bytewax's own metrics endpoint.

Bytewax serves whatever is in prometheus_client's default registry under /metrics when
BYTEWAX_DATAFLOW_API_ENABLED is set.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

INFO: Final = Gauge(
    "millstream_info", "1; which flow this is, of which release, as which process of a cluster.",
    ["flow", "version", "process"],
)  # fmt: skip
STATE: Final = Gauge(
    "millstream_state", "1 for the process's state: starting, running, lagging, paused or stuck.",
    ["state"],
)  # fmt: skip
STALL: Final = Gauge(
    "millstream_stall_ratio",
    "How much of MILLSTREAM_STALL_TIMEOUT the process has stood still for; at 1 it ends itself.",
)
RECORDS: Final = Counter("millstream_records", "Records consumed.", ["topic", "partition"])
BYTES: Final = Counter(
    "millstream_bytes", "Bytes of the values consumed.", ["topic", "partition"]
)
REJECTS: Final = Counter("millstream_rejects", "Records refused.", ["stage", "code"])
LETTERS_OPEN: Final = Gauge(
    "millstream_dead_letters_open",
    "Refused records that nobody has sent again or put aside, as the tables have them within half "
    "a minute; of the flow's first process alone, and not a number until it has looked.",
    ["stream", "code"],
)
DRIFTED: Final = Counter(
    "millstream_schema_drift",
    "Records whose schema is no version here, by whether they are read or refused.",
    ["topic", "outcome"],
)
WARNED: Final = Counter(
    "millstream_contract_warnings", "Good records that break a check of severity warn.",
    ["topic", "code"],
)  # fmt: skip
REPAIRED: Final = Counter(
    "millstream_contract_repairs", "Fields of good records that a contract's repair has mended.",
    ["topic", "field", "repair"],
)  # fmt: skip
LINEAGE_EVENTS: Final = Counter(
    "millstream_lineage_events",
    "OpenLineage events by what became of them: sent, failed, or dropped as too many waited.",
    ["outcome"],
)
DUPLICATES: Final = Counter("millstream_duplicates", "Records seen before.")
DEDUP_REFILLED: Final = Counter(
    "millstream_dedup_refilled_ids", "Ids given back to a Redis that had lost them."
)
DEDUP_DOUBTFUL: Final = Counter(
    "millstream_dedup_doubtful",
    "Payments that may be in silver twice after Redis lost its data.",
)
LATE: Final = Counter("millstream_late", "Records that were late for a window.", ["step"])
WINDOWS: Final = Counter("millstream_windows", "Windows closed.", ["step"])
OPEN_WINDOWS: Final = Gauge(
    "millstream_open_windows",
    "Windows that have records and may have a pane yet, as of the last epoch's end.",
    ["step"],
)
ALERTS: Final = Counter(
    "millstream_alerts", "Alerts raised, by rule and its status.", ["rule", "status"]
)
DECISIONS: Final = Counter(
    "millstream_decisions",
    "Decisions on what was not plainly approved, and by what.",
    ["decision", "by"],
)
WITHOUT_MODEL: Final = Counter(
    "millstream_decisions_without_model", "Decisions that were made while the model failed."
)
CHANGES: Final = Counter(
    "millstream_control_changes",
    "Records of the control topic that were read, by what became of them: taken, refused, or late, "
    "which is after events that they are for had been judged.",
    ["topic", "outcome"],
)
RULES_PAUSED: Final = Counter(
    "millstream_rules_paused", "Times that a rule has left its bounds and paused itself.",
    ["rule"],
)  # fmt: skip
RULE_SILENT: Final = Gauge(
    "millstream_rule_silent",
    "Whether a live rule alerts less often than its bounds say it does at the least.",
    ["rule"],
)
MODEL_SCORES: Final = Counter(
    "millstream_model_scores",
    "Events by whether the model scored them: scored, or none where it failed or was left alone.",
    ["model", "outcome"],
)
MODEL_FAILURES: Final = Counter(
    "millstream_model_failures", "Batches on which the model failed or was slow.", ["model"]
)
MODEL_OPEN: Final = Gauge(
    "millstream_model_open", "Whether the model is left alone, as it failed.", ["model"]
)
WATERMARK: Final = Gauge(
    "millstream_watermark_seconds",
    "The partition's watermark, in s since 1970; 0 before its first event.",
    ["topic", "partition"],
)
WATERMARK_LAG: Final = Gauge(
    "millstream_watermark_lag_seconds",
    "Wall clock minus the partition's watermark; 0 before its first event.",
    ["topic", "partition"],
)
WATERMARK_HELD: Final = Gauge(
    "millstream_watermark_held_seconds",
    "For how long the flow's watermark has waited for the partition while records come; 0 where "
    "it waits for another, or for none.",
    ["topic", "partition"],
)
WATERMARK_WAITS: Final = Gauge(
    "millstream_watermark_waits",
    "1 for the partition that the flow's watermark waits for, as of the last epoch's end.",
    ["topic", "partition"],
)
FLOW_WATERMARK: Final = Gauge(
    "millstream_flow_watermark_seconds",
    "The flow's watermark, in s since 1970, as of the last epoch's end; 0 before there is one.",
)
HISTORY_ROWS: Final = Counter(
    "millstream_history_rows",
    "Rows of tables that state was made of; 0 where it came of the recovery store.",
    ["topic", "partition"],
)
HISTORY_LEFT: Final = Gauge(
    "millstream_history_left_rows",
    "Rows of tables that state is still to be made of.",
    ["topic", "partition"],
)
OFFSET_LAG: Final = Gauge(
    "millstream_offset_lag_records",
    "Records between the partition's end and what was consumed; 0 when all is read, not a "
    "number until the end is known.",
    ["topic", "partition"],
)
PARTITION_PAUSED: Final = Gauge(
    "millstream_paused",
    "1 for a partition that is not read as most of it is refused, but for a few records.",
    ["topic", "partition"],
)
NEXT_OFFSET: Final = Gauge(
    "millstream_next_offset", "The offset that is read next.", ["topic", "partition"]
)
FENCE_OFFSET: Final = Gauge(
    "millstream_fence_offset",
    "The last offset that a commit of this process accounts for; not a number before its first.",
    ["topic", "partition"],
)
EPOCH_SECONDS: Final = Histogram(
    "millstream_epoch_seconds",
    "Time from one epoch's end to the next one's, by when all of it is durable.",
    buckets=(0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300),
)
EPOCH_END_SECONDS: Final = Histogram(
    "millstream_epoch_end_seconds",
    "For how long nothing is read at an epoch's end, until all of it is durable.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
COMMIT_SECONDS: Final = Histogram(
    "millstream_commit_seconds",
    "Time that a table's commit took.",
    ["table"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
COMMIT_FAILURES: Final = Counter(
    "millstream_commit_failures", "Tries of a commit that failed.", ["table"]
)
TABLE_COMMITTED: Final = Gauge(
    "millstream_table_committed_seconds",
    "When the last commit was, in s since 1970; 0 before this process has made one.",
    ["table"],
)
TABLE_NEWEST: Final = Gauge(
    "millstream_table_newest_seconds",
    "The newest event time, or end of a window, of rows committed, in s since 1970; 0 before.",
    ["table"],
)
RETRIES: Final = Counter(
    "millstream_retries", "Calls of a server that was away or refused.", ["service"]
)
ROWS: Final = Counter("millstream_rows", "Rows committed.", ["table"])
FENCED: Final = Counter(
    "millstream_fenced_rows", "Replayed rows that a table already had.", ["table"]
)
STATE_ROWS: Final = Gauge(
    "millstream_state_rows",
    "Rows of state when it was last snapshotted, which is when a key's series begins: which keys "
    "a process has is seen by then. Of a step ….panes those of open windows.",
    ["step", "key"],
)
STATE_BYTES: Final = Gauge(
    "millstream_state_bytes", "Size of the state when it was last snapshotted.", ["step", "key"]
)


def expect(
    topic: str,
    codes: Mapping[str, Iterable[str]],
    warnings: Iterable[str],
    repairs: Iterable[tuple[str, str]],
) -> None:
    """Have counters at 0 of what may come: rejects by stage and code, warnings, repairs, drift.

    A repair is named by its field and its kind.
    """
    for stage, several in codes.items():
        for code in several:
            REJECTS.labels(stage, code)
    for code in warnings:
        WARNED.labels(topic, code)
    for field, kind in repairs:
        REPAIRED.labels(topic, field, kind)
    for outcome in ("read", "refused"):
        DRIFTED.labels(topic, outcome)


def expect_lineage() -> None:
    """Have it at 0 what becomes of events of lineage."""
    for outcome in ("sent", "failed", "dropped"):
        LINEAGE_EVENTS.labels(outcome)


def offset_lag(topic: str, partition: str) -> Gauge:
    """Return the gauge of a partition's offset lag; not a number until its end is known."""
    gauge = OFFSET_LAG.labels(topic, partition)
    gauge.set(math.nan)
    return gauge


def observe_state(step: str, key: str, rows: int, state: Mapping[str, Any]) -> None:
    """Show the rows and bytes of a step's state for one state key, as it is snapshotted."""
    STATE_ROWS.labels(step, key).set(rows)
    STATE_BYTES.labels(step, key).set(_size(state))


def _size(state: Any) -> int:
    if isinstance(state, bytes):
        return len(state)
    if isinstance(state, Mapping):
        return sum(map(_size, state.values()))
    return sum(map(_size, state)) if isinstance(state, list) else 0

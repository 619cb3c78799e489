"""Metrics: what a flow did, on Bytewax's own metrics endpoint.

Bytewax serves whatever is in prometheus_client's default registry under /metrics when
BYTEWAX_DATAFLOW_API_ENABLED is set.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

RECORDS: Final = Counter("millstream_records", "Records consumed.", ["topic", "partition"])
REJECTS: Final = Counter("millstream_rejects", "Records refused.", ["stage", "code"])
WARNED: Final = Counter(
    "millstream_contract_warnings", "Good records that break a check of severity warn.",
    ["topic", "code"],
)  # fmt: skip
REPAIRED: Final = Counter(
    "millstream_contract_repairs", "Fields of good records that a contract's repair has mended.",
    ["topic", "field", "repair"],
)  # fmt: skip
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
ALERTS: Final = Counter(
    "millstream_alerts", "Alerts raised, by rule and its status.", ["rule", "status"]
)
WATERMARK_LAG: Final = Gauge(
    "millstream_watermark_lag_seconds",
    "Wall clock minus the partition's watermark.",
    ["topic", "partition"],
)
WATERMARK_HELD: Final = Gauge(
    "millstream_watermark_held_seconds",
    "For how long the flow's watermark has waited for the partition while records come.",
    ["topic", "partition"],
)
HISTORY_ROWS: Final = Counter(
    "millstream_history_rows", "Rows of tables that state was made of.", ["topic", "partition"]
)
HISTORY_LEFT: Final = Gauge(
    "millstream_history_left_rows",
    "Rows of tables that state is still to be made of.",
    ["topic", "partition"],
)
OFFSET_LAG: Final = Gauge(
    "millstream_offset_lag_records",
    "Records between the partition's end and what was consumed.",
    ["topic", "partition"],
)
COMMIT_SECONDS: Final = Histogram(
    "millstream_commit_seconds",
    "Time that a table's commit took.",
    ["table"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
ROWS: Final = Counter("millstream_rows", "Rows committed.", ["table"])
FENCED: Final = Counter(
    "millstream_fenced_rows", "Replayed rows that a table already had.", ["table"]
)
STATE_ROWS: Final = Gauge("millstream_state_rows", "Rows of state.", ["step", "key"])
STATE_BYTES: Final = Gauge(
    "millstream_state_bytes", "Size of the state when it was last snapshotted.", ["step", "key"]
)


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

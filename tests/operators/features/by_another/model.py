"""What the docstrings of features by another key say, by a loop over all events."""

from datetime import UTC, datetime

import polars as pl

from operators.features import Source
from operators.records.tables import COORDINATES, TIME
from tests.operators.features.aggregates import OF_EVENTS, aggregated

EPOCH = datetime(2024, 5, 1, tzinfo=UTC)
SECOND, MINUTE = 1_000_000, 60_000_000
BOUND = 30 * SECOND
TIMED = {**COORDINATES, "kafka_timestamp": TIME, "event_time": TIME}
COLUMNS = TIMED | OF_EVENTS
SOURCE = Source(COLUMNS, frozenset({"shop", "tip", "kafka_timestamp"}), "card")
GROUPS = 2
WHERES = {
    None: lambda row: True,
    "amount < 200": lambda row: row["amount"] < 200,
}
HOUR = 60 * MINUTE
PANES = {
    "10s": SECOND, "10m": MINUTE, "1h": 5 * MINUTE, "1d": HOUR, "7d": 6 * HOUR, "30d": 24 * HOUR,
}  # fmt: skip


def framed(partition, rows):
    coordinates = [("t", partition, 2 * offset) for offset in range(len(rows))]
    stated = [
        dict(zip(COORDINATES, place, strict=True)) | row
        for place, row in zip(coordinates, rows, strict=True)
    ]
    return pl.DataFrame(stated, schema=COLUMNS)


def micros(time) -> int | None:
    return None if time is None else round(time.timestamp() * 1_000_000)


def value_of(feature, rows, row):
    """Return what the docstrings say of an event: `rows` are all, with marks."""
    pane = PANES[feature.horizon]
    lag = BOUND + MINUTE if feature.lag is None else feature.lag_us
    asked = min(micros(row["event_time"]), micros(row["kafka_timestamp"]) or 2**62)
    end = (asked - lag) // pane * pane
    begin = end - feature.horizon_us
    if (mark := mark_of(row)) is not None:
        begin = max(begin, (mark - lag) // pane * pane - feature.kept_us)
    counting = []
    for other in rows:
        start = micros(other["event_time"]) // pane * pane
        known = mark_of(other)
        same = all((other[name] or 0) == (row[name] or 0) for name in feature.by)
        if same and begin <= start < end and (known is None or start + pane > known):
            counting.append(other)
    picked = [other for other in counting if WHERES[feature.where](other)]
    if feature.aggregate == "count":
        return len(picked)
    return aggregated(feature.aggregate, [each[feature.of] for each in picked])


def mark_of(row):
    marks = [micros(row[name]) for name in ("watermark", "woken_at") if row[name] is not None]
    return max(marks, default=None)

"""Features from labels as a model: what may come, and what is known as of each event."""

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from operators.event_time.watermarks import PartitionWatermark
from operators.features import Feature, Source
from operators.records.tables import TIME
from tests.operators.durable import End
from tests.operators.features.aggregates import deviation
from tests.operators.features.by_another.model import (
    BOUND,
    EPOCH,
    HOUR,
    MINUTE,
    SECOND,
    TIMED,
    micros,
)
from tests.operators.features.by_another.model import COLUMNS as EVENT_COLUMNS

LATENESS = 10 * SECOND
COLUMNS = {
    **TIMED,
    "event": pl.String(),
    "verdict": pl.String(),
    "shop": pl.String(),
    "card": pl.String(),
    "amount": pl.Int64(),
}
LABELS = Source(COLUMNS, frozenset({"shop", "card", "amount"}), "event")
SOURCE = Source(EVENT_COLUMNS, frozenset({"shop", "tip", "kafka_timestamp"}), "card", LABELS)
WHERES = {
    None: lambda row: True,
    "verdict = 'FRAUD'": lambda row: row["verdict"] == "FRAUD",
    "verdict = 'GENUINE'": lambda row: row["verdict"] == "GENUINE",
}
KINDS = (
    "count", "sum", "mean", "stddev", "share", "first_time", "last_time", "seconds_since",
    "seconds_since_first",
)  # fmt: skip
PANES = {
    "10s": SECOND, "10m": MINUTE, "1h": 5 * MINUTE, "1d": HOUR, "7d": 6 * HOUR, "30d": 6 * HOUR,
}  # fmt: skip


@st.composite
def features(draw):
    found = []
    for number in range(draw(st.integers(1, 4))):
        aggregate = draw(st.sampled_from(KINDS))
        horizon, kept = draw(
            st.sampled_from([(each, None) for each in PANES] + [("10m", "1h"), ("1d", "7d")])
        )
        wheres = sorted(WHERES, key=str)
        stated = {
            "name": f"f{number}",
            "version": 1,
            "description": "A feature.",
            "from": "labels",
            "by": draw(st.sampled_from(["shop", "shop", "card", ["shop", "card"]])),
            "aggregate": aggregate,
            "of": "amount" if aggregate in ("sum", "mean", "stddev") else None,
            "where": draw(st.sampled_from(wheres[1:] if aggregate == "share" else wheres)),
            "horizon": horizon,
            "kept": kept,
            "lag": draw(st.sampled_from([None, None, "1s", "5m"])),
        }
        found.append(Feature.model_validate(stated))
    return tuple(found)


moves = st.one_of(
    st.integers(-2 * MINUTE, 3 * MINUTE),
    st.sampled_from([0, 0, 1, SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, -10 * MINUTE]),
    st.sampled_from([HOUR, 24 * HOUR, 7 * 24 * HOUR, -HOUR]),
)


@st.composite
def events(draw):
    found = []
    for _ in range(draw(st.integers(1, 2))):
        time, rows = EPOCH, []
        for _ in range(draw(st.integers(0, 12))):
            time = time + timedelta(microseconds=draw(moves))
            rows.append(
                {
                    "event_time": time,
                    "kafka_timestamp": time,
                    "card": draw(st.sampled_from("ab")),
                    "shop": draw(st.sampled_from(["x", "x", "y", None])),
                    "amount": 1,
                    "tip": None,
                }
            )
        found.append(rows)
    return found


@st.composite
def labels(draw):
    """Labels by partition: of few events, so that many are labelled anew; some are late."""
    found = []
    for partition in range(draw(st.integers(1, 2))):
        time, rows = EPOCH, []
        for _ in range(draw(st.integers(0, 14))):
            time = time + timedelta(microseconds=draw(moves))
            # An event's labels are of one partition; also one that nobody knows, of no shop.
            event = f"{partition}-{draw(st.integers(0, 3))}"
            rows.append(
                {
                    "event_time": time,
                    "event": event,
                    "verdict": draw(st.sampled_from(["FRAUD", "GENUINE"])),
                    "shop": draw(st.sampled_from(["x", "x", "x", "y", None])),
                    "card": draw(st.sampled_from(["a", "a", "b", None])),
                    "amount": draw(st.sampled_from([None, -300, 5, 40])),
                }
            )
        found.append(rows)
    return found


steps = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 1), st.integers(0, 5), st.booleans(), st.booleans()
    ),
    max_size=20,
)
"""Of events or labels, a partition's next records, whether it is idle, and who hears at once."""
epochs = st.dictionaries(
    st.integers(0, 19), st.builds(End, st.booleans(), st.booleans(), st.just(value=False))
)


def judged(number, rows):
    frame = pl.DataFrame(
        [
            {"source_topic": "l", "source_partition": number, "source_offset": 2 * at} | row
            for at, row in enumerate(rows)
        ],
        schema=COLUMNS,
    )
    marks = PartitionWatermark(LATENESS).advance(frame["event_time"].dt.timestamp().to_numpy())
    return frame.with_columns(
        pl.Series("watermark", [None if m < -(2**61) else m for m in marks], pl.Int64()).cast(
            TIME
        )
    )


def since(label) -> int:
    """Return from when a label counts."""
    times = (label["event_time"], label["watermark"], label["woken_at"])
    return max(micros(time) for time in times if time is not None)


def value_of(feature, known, row):
    """Return what the docstrings say of an event: `known` are all labels."""
    pane = PANES[feature.horizon]
    lag = BOUND + MINUTE if feature.lag is None else feature.lag_us
    end = (micros(row["event_time"]) - lag) // pane * pane
    begin = end - feature.horizon_us
    marks = [micros(row[name]) for name in ("watermark", "woken_at") if row[name] is not None]
    if marks:
        begin = max(begin, (max(marks) - lag) // pane * pane - feature.kept_us)
    # The labels are in the order in which they came: of two at a time the later one is newer.
    newest: dict[Any, Any] = {}
    for label in sorted(known, key=since):
        by = [label[name] for name in feature.by]
        if None not in by and since(label) < end:
            newest[label["event"], *by] = label
    key = [row[name] or "" for name in feature.by]
    there = [
        each
        for each in newest.values()
        if since(each) >= begin and [each[name] for name in feature.by] == key
    ]
    picked = [each for each in there if WHERES[feature.where](each)]
    amounts = [each["amount"] for each in picked if each["amount"] is not None]
    times = [since(each) for each in picked]
    match feature.aggregate:
        case "count":
            return len(picked)
        case "sum":
            return sum(amounts)
        case "stddev":
            return deviation(amounts)
        case "mean":
            return sum(amounts) / len(amounts) if amounts else None
        case "share":
            return len(picked) / len(there) if there else None
    if not times:
        return None
    time = min(times) if "first" in feature.aggregate else max(times)
    if feature.aggregate in ("first_time", "last_time"):
        return EPOCH + timedelta(microseconds=time - micros(EPOCH))
    return (micros(row["event_time"]) - time) // SECOND

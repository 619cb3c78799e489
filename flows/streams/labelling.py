"""Labels of events that nobody sent: as the rows that a table of labels would have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import polars as pl

from operators.columns.arrays import Int64s
from operators.records.tables import TIME

if TYPE_CHECKING:
    from flows.streams.stream import Stream

_OF_EVENT: Final = {"paid_at": "event_time"}
"""What a label calls what its event has by another name."""


def columns_of(labels: "Stream", fields: Sequence[str]) -> list[str]:
    """Return which fields of events labels of them need, `fields` being all that there are."""
    needed = {_OF_EVENT.get(name, name) for name in labels.fields}
    return [name for name in fields if name in needed]


def labels_of_events(
    labels: "Stream", events: pl.DataFrame, since: Int64s, verdict: Sequence[str], source: str
) -> pl.DataFrame:
    """Return a label for each event, known `since` a time in µs, as one partition has them."""
    ids = events[labels.key].cast(pl.String)
    stated = {
        labels.id: ids,
        "event_time": pl.Series(since, dtype=pl.Int64()).cast(TIME),
        "verdict": pl.Series(verdict, dtype=pl.String()),
        "source": pl.Series([source]).new_from_index(0, events.height),
    }
    columns = []
    for name, dtype in labels.fields.items():
        there = stated.get(name)
        if there is None and (own := _OF_EVENT.get(name, name)) in events.columns:
            there = events[own]
        if there is None:
            there = pl.Series([None], dtype=dtype).new_from_index(0, events.height)
        columns.append(there.alias(name))
    rows = pl.DataFrame(columns).sort("event_time", maintain_order=True)
    return rows.select(
        pl.lit(labels.name).alias("source_topic"),
        pl.lit(0, pl.Int32()).alias("source_partition"),
        pl.int_range(pl.len(), dtype=pl.Int64()).alias("source_offset"),
        pl.lit(None, TIME).alias("kafka_timestamp"),
        *labels.fields,
        pl.lit(None, TIME).alias("watermark"),
    )

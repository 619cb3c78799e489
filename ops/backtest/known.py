"""Known: labels as the events that features from labels are made of."""

from typing import Final

import numpy as np
import polars as pl
from deltalake import DeltaTable

from flows.streams import Stream
from operators.columns.times import in_micros
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.records.tables import COORDINATES, TIME
from ops.backtest.labels import DAY, DELAY, Labels

_OF_EVENT: Final = {"paid_at": "event_time"}
"""What a label calls what its event has by another name."""


def known_late(
    stream: Stream, events: pl.DataFrame, labels: Labels | None
) -> list[pl.DataFrame]:
    """Return labels of events as one partition has them, each known `DELAY` days after its event.

    One that is known to have come on another day counts from that day's end.
    """
    labelled = stream.labelled
    if labelled is None or labels is None:
        return []
    times = in_micros(events["event_time"])
    ids = events[stream.id].cast(pl.String)
    fraud, day, there = labels.look_up(ids, times // DAY)
    stated = day != times // DAY + DELAY
    since = np.where(stated, (day + 1) * DAY, times + DELAY * DAY)
    verdict = np.where(fraud, "FRAUD", "GENUINE")
    columns = {
        name: events[_OF_EVENT.get(name, name)]
        for name in labelled.fields
        if _OF_EVENT.get(name, name) in events.columns
    }
    columns |= {
        labelled.id: ids,
        labelled.key: ids,
        "event_time": pl.Series(since).cast(TIME),
        "verdict": pl.Series(verdict),
        "source": pl.Series(["history"]).new_from_index(0, events.height),
    }
    rows = pl.DataFrame(
        {
            name: columns.get(name, pl.Series([None], dtype=dtype).new_from_index(0, len(ids)))
            for name, dtype in labelled.fields.items()
        }
    )
    rows = rows.filter(pl.Series(there)).sort("event_time", maintain_order=True)
    return [
        rows.select(
            pl.lit(labelled.name).alias("source_topic"),
            pl.lit(0, pl.Int32()).alias("source_partition"),
            pl.int_range(pl.len(), dtype=pl.Int64()).alias("source_offset"),
            pl.lit(None, TIME).alias("kafka_timestamp"),
            *labelled.fields,
            pl.lit(None, TIME).alias("watermark"),
        )
    ]


def known_of_silver(root: str, stream: Stream, labels: Labels | None) -> list[pl.DataFrame]:
    """Return the labels that the stream's flow read; where it reads none those of its events.

    See `known_late`.
    """
    labelled = stream.labelled
    if labelled is not None and DeltaTable.is_deltatable(
        uri := table_uri(root, labelled.silver.name)
    ):
        rows = read(DeltaTable(uri), labelled.columns).sort(*COORDINATES)
        return rows.partition_by("source_topic", "source_partition")
    if labelled is None or labels is None:
        return []
    names = {"event_time", *(_OF_EVENT.get(name, name) for name in labelled.fields), stream.id}
    columns = {name: dtype for name, dtype in stream.fields.items() if name in names}
    table = DeltaTable(table_uri(root, stream.silver.name))
    return known_late(stream, read(table, columns), labels)

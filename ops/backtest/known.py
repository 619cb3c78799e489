"""Known: labels as the events that features from labels are made of."""

from datetime import datetime

import numpy as np
import polars as pl
from deltalake import DeltaTable

from flows.streams import Stream
from flows.streams.labelling import columns_of
from flows.streams.labelling import labels_of_events as rows_of_labels
from operators.columns.times import in_micros
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from ops.backtest.labels import DAY, DELAY, Labels
from ops.labels_there import labels_there


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
    verdict = np.where(fraud[there], "FRAUD", "GENUINE")
    some = events.filter(pl.Series(there))
    return [rows_of_labels(labelled, some, since[there], verdict.tolist(), "history")]


def known_of_silver(
    root: str, stream: Stream, version: int, by: datetime | None, labels: Labels | None
) -> list[pl.DataFrame]:
    """Return the labels that the stream's flow read; where it reads none those of its events.

    See `known_late`; events are those of silver at a version. Where the flow began to read some
    only after a time, it read none `by` then; what it has read since changes nothing of before, as
    each counts from its own time on.
    """
    labelled, there = stream.labelled, labels_there(root, stream, by=by)
    if there is not None:
        return there
    if labelled is None or labels is None:
        return []
    columns = {name: stream.fields[name] for name in columns_of(labelled, [*stream.fields])}
    table = DeltaTable(table_uri(root, stream.silver.name), version=version)
    return known_late(stream, read(table, columns), labels)

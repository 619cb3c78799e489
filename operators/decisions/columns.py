"""The columns of decisions."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from operators.decisions.thresholds import NAMES
from operators.decisions.versions import CHANGES
from operators.records.tables import COORDINATES, TIME, Table

LISTED: Final = "listed"
"""The column that tells which lists an event is on, if a stream has lists."""

MODEL: Final = "model_score"
"""The column with the model's score from 0 to 1, null where the model failed, if there is one."""

HIT: Final = pl.Struct(
    {
        "rule_id": pl.String(),
        "rule_version": pl.Int32(),
        "action": pl.String(),
        "score": pl.Float64(),
        "share": pl.Float64(),
        "reason": pl.String(),
        "values": pl.String(),
    }
)
"""A rule's hit: what it adds to the score, which part of it that is, and the values it read."""


def decision_columns(id_column: str, key_column: str) -> dict[str, pl.DataType]:
    """Return a decision's columns; two are the event's own, its id and whom it is about.

    The thresholds are those that it was made by, `lists_change` and `thresholds_change` the offsets
    of the changes, in the control topic, by which there were those lists and thresholds; `model` is
    the name, version and hash of the model that was asked.
    """
    return {
        "decision_id": pl.String(),
        id_column: pl.String(),
        key_column: pl.String(),
        "event_time": TIME,
        "decision": pl.String(),
        "decided_by": pl.String(),
        "score": pl.Float64(),
        "hits": pl.List(HIT),
        "listed": pl.String(),
        "model_score": pl.Float64(),
        "model_share": pl.Float64(),
        "without_model": pl.Boolean(),
        "model": pl.String(),
        **{f"{name}_at": pl.Float64() for name in NAMES},
        **dict.fromkeys(CHANGES, pl.Int64()),
        "sentence": pl.String(),
        **COORDINATES,
    }


def decision_table(name: str, id_column: str, key_column: str) -> Table:
    """Return the table of decisions."""
    columns = decision_columns(id_column, key_column)
    return Table(name, columns, scattered=("decision_id", id_column, "sentence"))


def hits_column(hits: Mapping[int, list[dict[str, Any]]], n: int) -> pl.Series:
    """Return the hits of n rows as a column; of a row that has none it has null."""
    # All hits in one: Polars makes a frame of each list that it is given, at 30 µs.
    flat = pl.DataFrame([each for row in sorted(hits) for each in hits[row]], HIT.to_schema())
    lengths = np.zeros(n, np.int64)
    lengths[[*hits]] = [len(each) for each in hits.values()]
    ends = np.cumsum(lengths)
    starts = pa.array(np.append(0, ends), mask=np.append(lengths == 0, [False]))
    lists = pa.LargeListArray.from_arrays(starts, flat.to_struct().to_arrow())
    return pl.Series(lists, dtype=pl.List(HIT))


def ids_of(events: pl.DataFrame) -> pl.Series:
    """Return the ids of decisions on events, which are their coordinates."""
    topic, partition, offset = (events[name].cast(pl.String) for name in COORDINATES)
    return topic + "/" + partition + "/" + offset

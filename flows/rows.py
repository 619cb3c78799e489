"""Rows: what tables get of batches."""

from collections.abc import Mapping
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from flows.streams import Stream
from operators.changes import SEQUENCE
from operators.columns.frames import filtered
from operators.privacy import Guard
from operators.records.batches import Batch, RawBatch, merge
from operators.records.raw import ingested
from operators.records.tables import COORDINATES

ALL_RULES: Final = "*"
"""What stands for all rules where a rule's id may."""

_EPOCH: Final = date(1970, 1, 1)


def bronze_rows(guard: Guard, raws: list[RawBatch]) -> list[pl.DataFrame]:
    """Return the rows of raw records, as ingested."""
    return [with_day(guard.sealed("bronze", ingested(raws)))]


def with_day(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of records with the day that Kafka had them, by which tables are partitioned."""
    day = rows["kafka_timestamp"].cast(pl.Date).alias("ingest_date")
    # A record without a Kafka timestamp goes to 1970, so that its partition is fixed too.
    return rows.hstack([day.fill_null(_EPOCH) if day.null_count() else day])


def silver_rows(stream: Stream, batches: list[Batch]) -> list[pl.DataFrame]:
    """Return the rows of good records."""
    rows = merge(batches)[list(stream.columns)]
    return [rows.hstack([rows["event_time"].cast(pl.Date).alias("event_date")])]


def change_rows(stream: Stream, batches: list[Batch]) -> list[pl.DataFrame]:
    """Return the changes of good records, as a table takes them that they merge into."""
    assert stream.changes is not None  # noqa: S101 # a stream of changes
    columns = (*stream.changes.columns(stream.fields), *COORDINATES)
    return [merge(batches)[list(columns)]]


def as_versions(stream: Stream, batch: Batch) -> Batch:
    """Return changes as a join takes them.

    In an envelope each deletion has the database's time; the tombstone behind it has only Kafka's.
    """
    assert stream.changes is not None  # noqa: S101 # a stream of changes
    if not (stream.changes.enveloped and batch.frame[SEQUENCE].null_count()):
        return batch
    return Batch(batch.progress, filtered(batch.frame, batch.frame[SEQUENCE].is_not_null()))


def alerts_behind(since: Mapping[str, Mapping[int, int]], alerts: pl.DataFrame) -> pl.DataFrame:
    """Return the alerts behind offsets by rule and partition."""
    if not (since and alerts.height):
        return alerts
    places = alerts.select("rule_id", "source_partition").iter_rows()
    every = since.get(ALL_RULES, {})
    last = np.array(
        [max(since.get(rule, {}).get(p, -1), every.get(p, -1)) for rule, p in places]
    )
    new = alerts["source_offset"].to_numpy() > last
    return alerts if new.all() else filtered(alerts, pl.Series(new))


def decisions_behind(last: Mapping[int, int], decisions: pl.DataFrame) -> pl.DataFrame:
    """Return the decisions behind offsets by partition."""
    if not last:
        return decisions
    ends = np.array([last.get(each, -1) for each in decisions["source_partition"]])
    new = decisions["source_offset"].to_numpy() > ends
    return decisions if new.all() else filtered(decisions, pl.Series(new))

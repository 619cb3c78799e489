"""The ends of a stream's labels, in flows that have features from these."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable

from flows.pipeline import LabelledBy
from flows.privacy import telling
from flows.settings import Settings
from flows.sources import open_source
from flows.starting import table_id
from flows.streams import Stream
from flows.tables import defined
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching, table_uri
from operators.connectors.redis.dedup_store import memory_of
from operators.connectors.watched import WatchedSink
from operators.records.tables import Table

if TYPE_CHECKING:
    from flows.connecting import Ends


def labels_of(stream: Stream) -> list[Stream]:
    """Return the stream of labels that a stream's features read, none if there are none."""
    if stream.labelled is None or stream.features.labels is None:
        return []
    return [stream.labelled]


def label_tables(stream: Stream, settings: Settings) -> list[Table]:
    """Return the tables of the labels that a stream's features read, with what rows are made by."""
    return [
        table
        for each in labels_of(stream)
        for table in telling(
            settings, defined(each, settings.of(each), None), {each.silver.name: [each]}
        )
    ]


def connect_labels(ends: "Ends", stream: Stream, tables: Sequence[Table]) -> LabelledBy | None:
    """Return what the labels of a stream's events are read with, None if they are not.

    Without `tables` nothing is kept of from when each of them counted.
    """
    settings = ends.settings
    for labels in labels_of(stream):
        own = settings.of(labels)
        sink = ends.tables(tables, labels) if tables else None
        source = open_source(
            # Payments need what was known before them, wherever they are read from.
            settings.model_copy(update={"start": "earliest"}),
            own,
            ends.topics[own.topic],
            sink,
            group=ends.group,
            hurried=True,
            breaker=ends.breaker(labels),
            anew=ends.anew,
        )
        owner = table_id(settings, labels.silver) if tables else settings.consumer_group
        told = ends.define(sink, tables, labels.silver, own.topic) if sink else None
        memory = memory_of(ends.name, own.topic, ends.identity_of(labels), owner)
        history = ends.history(labels, sink) if sink else None
        return LabelledBy(
            labels,
            own,
            source,
            ends.parts(labels, None, memory, history, told),
            partial(_known, settings.delta_root, labels, own.topic) if tables else _nothing,
            WatchedSink(sink) if sink else None,
        )
    return None


def _nothing(offsets: Mapping[int, int]) -> dict[int, pl.DataFrame]:
    return {}


def _known(
    root: str, labels: Stream, topic: str, offsets: Mapping[int, int]
) -> dict[int, pl.DataFrame]:
    """Return the labels that silver has behind offsets, by partition, in order."""
    uri = table_uri(root, labels.silver.name)
    name = topic.replace("'", "''")
    behind = "".join(
        f" AND NOT (source_partition = {p} AND source_offset <= {offset})"
        for p, offset in offsets.items()
    )
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            return {}
        rows = read(DeltaTable(uri), labels.columns, f"source_topic = '{name}'{behind}")
    parts = rows.sort("source_offset").partition_by("source_partition", as_dict=True)
    return {int(str(partition)): mine for (partition,), mine in parts.items()}

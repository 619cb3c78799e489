"""The table of data quality, counted anew of the tables that its rows are about."""

import polars as pl

from flows.settings import Settings
from flows.streams import Stream
from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.counting import ledger_parts
from operators.connectors.delta.definitions import history
from operators.connectors.delta.table import Fence
from operators.connectors.kafka.client import wait_for_partitions
from operators.records.batches import END_OF_INPUT, Progress
from operators.records.data_quality import COLUMNS, COUNTED, DataQuality
from ops.verify.report import Check, only_once
from ops.verify.tables import Tables, uncut


def check_data_quality(
    stream: Stream, tables: Tables, settings: Settings, flow: str | None = None
) -> list[Check]:
    """Compare the rows with what the other tables have; no check where there is no such table.

    `flow` writes them, which is called as the stream where it is not given. Earlier releases had
    none: of records from before it was there nothing is expected.
    """
    name = stream.data_quality.name
    if not tables.there(name):
        return []
    handle, topic = tables.handle(name), settings.of(stream).topic
    partitions = wait_for_partitions(settings.kafka, topic, 10)
    told = (history(handle) or {}).get(COUNTED, ())
    before = told[-1].of(topic) if told else {}
    frontier = recorded(handle, Fence(flow or stream.name, [(topic, p) for p in partitions]))
    actual = tables.read(name, COLUMNS)
    # A partition may have ended, which is told by its last row, before the flow has.
    behind = pl.col("first_offset") + pl.col("records") + pl.col("missing")
    last = actual.filter(pl.col("code").is_null(), pl.col("source_offset") < behind)
    ended = {*last["source_partition"]}
    quality = DataQuality(lambda partition: before.get(partition, -1) + 1, lambda _: ())
    for part in ledger_parts(stream.ledger, tables.handle):
        quality.take(part)
    for partition in partitions:
        offset = frontier.offsets.get((topic, partition), -1)
        watermark = END_OF_INPUT if partition in ended else frontier.watermark
        quality.observe(Progress(topic, partition, len(partitions), offset, watermark))
    told_as = f"{name} counts what became of each record, minute by minute"
    expected = quality.settle().with_columns(pl.col("source_topic").cast(pl.String))
    cut = tables.cut(name, topic)
    return [only_once(told_as, uncut(cut, expected), uncut(cut, actual))]

"""Labels that are there: those that a stream's flow has read, as it judged them."""

from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from flows.streams import Stream
from operators.connectors.delta.commits import version_by
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.features import WholeFeatures


def labels_there(
    root: str, stream: Stream, topic: str | None = None, by: datetime | None = None
) -> list[pl.DataFrame] | None:
    """Return the labels of a stream's events by partition, in order; None without their table.

    Those of a topic, or of all that the table has; None too where there was no table `by` a time.
    """
    if stream.labelled is None:
        return None
    uri = table_uri(root, stream.labelled.silver.name)
    if not DeltaTable.is_deltatable(uri):
        return None
    table = DeltaTable(uri)
    if by is not None and not _was_there(table, by):
        return None
    rows = read(table, stream.labelled.columns)
    if topic is not None:
        rows = rows.filter(pl.col("source_topic") == topic)
    return rows.sort("source_offset").partition_by("source_topic", "source_partition")


def _was_there(table: DeltaTable, by: datetime) -> bool:
    try:
        return version_by(table, by) is not None
    except LookupError:
        # What the log does not tell of any more is long ago.
        return True


def give(labels: list[pl.DataFrame], whole: WholeFeatures) -> None:
    """Tell features all labels, before the first event."""
    for number, rows in enumerate(labels):
        whole.add_labels(number, len(labels), rows)
    whole.end_labels()

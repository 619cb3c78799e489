"""Labels that are there: those that a stream's flow has read, as it judged them."""

import polars as pl
from deltalake import DeltaTable

from flows.streams import Stream
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.features import WholeFeatures


def labels_there(
    root: str, stream: Stream, topic: str | None = None
) -> list[pl.DataFrame] | None:
    """Return the labels of a stream's events by partition, in order; None without their table.

    Those of a topic, or of all that the table has.
    """
    if stream.labelled is None:
        return None
    uri = table_uri(root, stream.labelled.silver.name)
    if not DeltaTable.is_deltatable(uri):
        return None
    rows = read(DeltaTable(uri), stream.labelled.columns)
    if topic is not None:
        rows = rows.filter(pl.col("source_topic") == topic)
    return rows.sort("source_offset").partition_by("source_topic", "source_partition")


def give(labels: list[pl.DataFrame], whole: WholeFeatures) -> None:
    """Tell features all labels, before the first event."""
    for number, rows in enumerate(labels):
        whole.add_labels(number, len(labels), rows)
    whole.end_labels()

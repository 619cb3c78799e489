"""The books of labels: the one place of each, and what was sent of those that were refused."""

from collections.abc import Callable
from typing import Final

import polars as pl
from deltalake import DeltaTable

from flows.settings import Settings
from flows.streams import Stream
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.connectors.kafka.topic_ids import identify
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once
from ops.verify.topics import PLACE, reject_ids, sent_once, source_records, still_there

_PLACE: Final = list(PLACE)


def labels_topic(settings: Settings, stream: Stream) -> str | None:
    """Return the topic of a stream's labels, None if it has none."""
    return None if stream.labelled is None else settings.of(stream.labelled).topic


def check_labels(
    settings: Settings, stream: Stream, told: Callable[[str], None] = lambda _: None
) -> list[Check]:
    """Check the tables and the topic of a stream's labels, if its features are from these.

    What each of them counts as is checked with the features. Raises KafkaUnavailableError where
    the topics cannot be read.
    """
    labels = stream.labelled
    if labels is None or stream.features.labels is None:
        return []
    own, root = settings.of(labels), settings.delta_root
    gone = Forgotten.of(root, labels.name)
    told("looking for each label's one place")
    tables = {
        each.name: DeltaTable(table_uri(root, each.name)) for each in labels.ledger.counted
    }
    source = source_records(settings.kafka, own.topic, lambda _: None)
    placed = pl.concat(
        read(table, _PLACE).with_columns(place=pl.lit(name)) for name, table in tables.items()
    )
    still = still_there(source, placed)
    rejects = read(tables[labels.quarantine.name], ["code", "source_topic", *_PLACE])
    identity = identify(settings.kafka, [own.topic], 10)[own.topic]
    return [
        only_once(
            f"every {labels.record} of the topic is in one place, once",
            gone.without(source.select(_PLACE)),
            still,
            deleted=placed.height - still.height,
        ),
        sent_once(
            f"{own.dlq_topic} holds every rejected {labels.record}, once",
            settings.kafka,
            own.dlq_topic,
            reject_ids(rejects),
            identity,
            removed=gone.has,
        ),
    ]

"""Outputs: the topics that a flow sends to, made where they are missing."""

from collections.abc import Sequence

from flows.settings import Settings
from operators.connectors import output_topics, topic_ids
from operators.connectors.kafka_sink import KafkaSink


def open_outputs(
    settings: Settings, topics: Sequence[str], partitions: int, group: str
) -> KafkaSink:
    """Return the sink of topics, each made with so many partitions if it is not there.

    They are read back as of a consumer `group`.

    Raises OutputTopicError for one that cannot be used, and KafkaUnavailableError.
    """
    timeout = settings.start_timeout.total_seconds()
    outputs = {
        topic: output_topics.ensure(settings.kafka, topic, partitions, timeout)
        for topic in topics
    }
    return KafkaSink(
        settings.kafka, outputs, topic_ids.identify(settings.kafka, outputs, timeout), group
    )

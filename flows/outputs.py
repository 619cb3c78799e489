"""Outputs: the topics that a flow sends to, made where they are missing."""

from collections.abc import Callable, Mapping, Sequence

from flows.flow_settings import FlowSettings
from operators.connectors.kafka import output_topics, topic_ids
from operators.connectors.kafka.sink import KafkaSink


def open_outputs(
    settings: FlowSettings,
    topics: Mapping[str, int],
    group: str,
    sources: Mapping[str, str],
    mine: Mapping[str, Sequence[int]] | None,
    unchanged: Callable[[], None] = lambda: None,
) -> KafkaSink:
    """Return the sink of topics, each made with its number of partitions if it is not there.

    They are read back as of a consumer `group`; `sources` are the topics that the flow reads,
    with their identities, and `mine` is as of `KafkaSink`. A flow without tables, whose commits
    look themselves, gives what looks whether those are `unchanged`.

    Raises OutputTopicError for one that cannot be used, and KafkaUnavailableError.
    """
    timeout = settings.start_timeout.total_seconds()
    outputs = {
        topic: output_topics.ensure(settings.kafka, topic, partitions, timeout)
        for topic, partitions in topics.items()
    }
    identities = topic_ids.identify(settings.kafka, outputs, timeout)
    return KafkaSink(settings.kafka, outputs, identities, group, sources, mine, unchanged)

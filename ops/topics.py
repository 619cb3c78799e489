"""Topics: made, if they are not there, with the number of partitions that is asked for."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic


def create_topic(
    bootstrap: str, name: str, partitions: int, settings: Mapping[str, str] | None = None
) -> bool:
    """Create a topic unless it exists; returns whether it was created.

    `settings` are further librdkafka settings. Raises ValueError if it exists with another
    number of partitions, KafkaException if the broker refuses or does not answer within 10 s.
    """
    admin = AdminClient({"log_level": 0, **(settings or {}), "bootstrap.servers": bootstrap})
    # Some brokers answer a repeated creation with success, so ask first.
    known = admin.list_topics(timeout=10).topics.get(name)
    if known is None or known.error is not None:
        (done,) = admin.create_topics(
            [NewTopic(name, partitions, 1)], operation_timeout=10
        ).values()
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            return True
        known = admin.list_topics(timeout=10).topics[name]
    if len(known.partitions) != partitions:
        raise ValueError(
            f"topic {name} has {len(known.partitions)} partitions, not {partitions}"
        )
    return False

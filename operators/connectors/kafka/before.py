"""Before: the records of a partition that lie in front of an offset."""

import time

from confluent_kafka import KafkaError, Message, TopicPartition

from operators.connectors.kafka.brokers import brokers_of
from operators.connectors.kafka.client import ANY_GROUP, Config, consumer, failure, of_group
from operators.connectors.kafka.records import Records


def read_before(
    config: Config,
    topic: str,
    partition: int,
    offset: int,
    span: int,
    *,
    group: str = ANY_GROUP,
    timeout: float = 60.0,
) -> Records:
    """Return the records among the `span` offsets in front of an offset; of those that are there.

    Raises KafkaUnavailableError after `timeout` seconds without an answer.
    """
    begin = max(offset - span, 0)
    if begin == offset:
        return Records()
    client = consumer(config, group, **{"auto.offset.reset": "earliest"})
    found: list[Message] = []
    try:
        client.assign([TopicPartition(topic, partition, begin)])
        brokers, heard = brokers_of(config), time.monotonic()
        while True:
            brokers.bear(client, topic, heard)
            for message in client.consume(1_000, 0.2):
                heard = time.monotonic()
                error = message.error()
                if error is None and message.offset() < offset:
                    found.append(message)
                elif error is None or error.code() == KafkaError._PARTITION_EOF:
                    return Records.of(found) if found else Records()
                elif not of_group(error):
                    raise failure(config, topic, error)
            if found and found[-1].offset() == offset - 1:
                return Records.of(found)
            if time.monotonic() - heard > timeout:
                raise brokers.given_up(timeout, f"no answer reading topic {topic!r}")
    finally:
        client.close()

"""Kafka: what the source, the sink and the tools share."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from operators.connectors import kafka_records

Config = Mapping[str, str]
"""librdkafka settings by their own names."""

LOG: Final = logging.getLogger("millstream.kafka")


class KafkaUnavailableError(RuntimeError):
    """The brokers did not answer in time."""


class OffsetGoneError(RuntimeError):
    """The offset to go on from is no longer in the topic, or not yet."""


class EndedError(RuntimeError):
    """Records came after an end of input that had closed every window."""


def admin_client(config: Config) -> AdminClient:
    """Return a client that creates no topic by asking for it, as stock ones do."""
    return AdminClient(
        {"allow.auto.create.topics": "false", **config, "log_level": 0}, logger=LOG
    )


def wait_for_partitions(config: Config, topic: str, timeout: float) -> list[int]:
    """Return a topic's partitions, waiting up to `timeout` seconds for the brokers and it.

    Raises KafkaUnavailableError with what to check.
    """
    admin = admin_client(config)
    deadline, pause, problem = time.monotonic() + timeout, 0.1, "no answer"
    servers = config.get("bootstrap.servers", "")
    while True:
        try:
            found = admin.list_topics(topic, timeout=min(5, max(timeout / 4, 0.2))).topics[
                topic
            ]
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            problem = f"topic {topic!r}: {found.error or 'no partitions'}"
        except KafkaException as error:
            problem = error.args[0].str()
        if time.monotonic() + pause > deadline:
            raise KafkaUnavailableError(
                f"Kafka at {servers}: {problem} (tried for {timeout:.0f} s); check that the "
                "brokers run, MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS, and that the topic exists"
            )
        LOG.warning("waiting for Kafka at %s: %s", servers, problem)
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def headers_of(message: Message) -> dict[str, bytes]:
    """Return a message's headers, the last of each name; those without a value are left out."""
    (pairs,) = kafka_records.headers_of([message])
    return {name: value for name, value in pairs or () if value is not None}


def consumer(config: Config, **settings: Any) -> Consumer:
    """Return a consumer that fails rather than jumps where an offset is gone.

    The stock setting moves silently to the end of the topic when the offset asked for has
    expired.
    """
    defaults = {
        "group.id": "millstream",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 20,
        "queued.max.messages.kbytes": 32_768,
        "isolation.level": "read_committed",
    }
    return Consumer({**defaults, **config, **settings}, logger=LOG)


def first_offsets(
    config: Config, topic: str, partitions: Iterable[int], timeout: float
) -> dict[int, int]:
    """Return each partition's first offset that has not been deleted.

    Raises KafkaException if the brokers do not say so within `timeout` seconds.
    """
    admin = admin_client(config)
    asked = {TopicPartition(topic, p): OffsetSpec.earliest() for p in partitions}
    answers = admin.list_offsets(asked, request_timeout=timeout)
    return {place.partition: answer.result().offset for place, answer in answers.items()}


def end_offsets(
    config: Config, topic: str, partitions: Sequence[int], timeout: float
) -> dict[int, int]:
    """Return each partition's end, the offset of the next record to come.

    As the answer to a fetch tells it, see `read_to_end`. Raises KafkaUnavailableError after
    `timeout` seconds.
    """
    client = consumer(config)
    try:
        client.assign([TopicPartition(topic, p, OFFSET_END) for p in partitions])
        ends: dict[int, int] = {}
        deadline = time.monotonic() + timeout
        while len(ends) < len(partitions):
            if time.monotonic() > deadline:
                raise KafkaUnavailableError(f"no answer on where {topic!r} ends")
            for message in client.consume(1_000, 0.1):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                place = TopicPartition(topic, message.partition())
                _, ends[message.partition()] = client.get_watermark_offsets(place, cached=True)
        return ends
    finally:
        client.close()


def read_to_end(
    config: Config,
    topic: str,
    starts: Mapping[int, int],
    progress: Callable[[int], None] = lambda _: None,
    timeout: float = 60.0,
) -> Iterator[Message]:
    """Yield what a topic holds from the given offsets by partition to each partition's end.

    The end is where the broker says so in a fetch: a look-up of the latest offset is wrong on
    some brokers. Raises KafkaUnavailableError after `timeout` seconds without any answer.
    """
    client = consumer(config, **{"auto.offset.reset": "earliest"})
    try:
        client.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
        open_, heard = set(starts), time.monotonic()
        while open_:
            for message in client.consume(10_000, 0.2):
                heard = time.monotonic()
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_.discard(message.partition())
                else:
                    raise KafkaException(error)
            progress(len(open_))
            if time.monotonic() - heard > timeout:
                raise KafkaUnavailableError(f"no answer for {timeout:.0f} s reading {topic!r}")
    finally:
        client.close()

"""Kafka: what the source, the sink and the tools share."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
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

from operators.connectors.kafka import records as kafka_records
from operators.connectors.kafka.brokers import LOG as LOG
from operators.connectors.kafka.brokers import Config as Config
from operators.connectors.kafka.brokers import KafkaUnavailableError as KafkaUnavailableError
from operators.connectors.kafka.brokers import brokers_of as brokers_of
from operators.connectors.kafka.brokers import try_seconds
from operators.connectors.kafka.faults import denied
from operators.connectors.kafka.topics import count_brokers as count_brokers
from operators.connectors.kafka.topics import wait_for_partitions as wait_for_partitions
from operators.errors import KnownError

ANY_GROUP: Final = "millstream"
"""The group of a client that commits nothing and has been told of none."""


class OffsetGoneError(KnownError):
    """The offset to go on from is no longer in the topic, or not yet."""


class EndedError(KnownError):
    """Records came after an end of input that had closed every window."""


def admin_client(config: Config) -> AdminClient:
    """Return a client for questions, to be closed as a context; see `Brokers.admin`."""
    return brokers_of(config).admin()


def failure(config: Config, topic: str, error: KafkaError, right: str = "READ") -> RuntimeError:
    """Return the error to end with where a topic cannot be read, or as `right` says."""
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return KafkaUnavailableError(denied(config, right, topic, [right]))
    servers = config.get("bootstrap.servers", "")
    return KafkaUnavailableError(f"Kafka at {servers}: topic {topic!r}: {error.str()}")


def headers_of(message: Message) -> dict[str, bytes]:
    """Return a message's headers, the last of each name; those without a value are left out."""
    (pairs,) = kafka_records.headers_of([message])
    return {name: value for name, value in pairs or () if value is not None}


def consumer(config: Config, group: str, **settings: Any) -> Consumer:
    """Return a consumer that fails rather than jumps where an offset is gone.

    The stock setting moves silently to the end of the topic when the offset asked for has
    expired. The client asks for the `group`'s coordinator, so it is one that the user may use;
    where he may not, an event says so (see `of_group`), and reading goes on.
    """
    defaults = {
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 20,
        "queued.max.messages.kbytes": 32_768,
        "isolation.level": "read_committed",
    }
    own = {"group.id": group, **brokers_of(config).callbacks()}
    return Consumer({**defaults, **config, **own, **settings})


def of_group(error: KafkaError) -> bool:
    """Tell whether an event concerns the consumer group alone, which no reading needs."""
    return bool(error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED)


def first_offsets(
    config: Config, topic: str, partitions: Iterable[int], timeout: float
) -> dict[int, int]:
    """Return each partition's first offset that has not been deleted.

    Raises KafkaUnavailableError if the brokers do not say so within `timeout` seconds.
    """
    brokers = brokers_of(config)
    places = [TopicPartition(topic, partition) for partition in partitions]
    with brokers.admin() as admin:

        def ask() -> dict[int, int]:
            asked = dict.fromkeys(places, OffsetSpec.earliest())
            answers = admin.list_offsets(asked, request_timeout=try_seconds(timeout))
            return {p.partition: answer.result().offset for p, answer in answers.items()}

        return brokers.wait(admin, ask, timeout)


def end_offsets(
    config: Config,
    topic: str,
    partitions: Sequence[int],
    timeout: float,
    group: str = ANY_GROUP,
) -> dict[int, int]:
    """Return each partition's last stable offset: no record before it is still to come.

    That is where an open transaction begins, else the end. As the end of a fetch tells it, see
    `read_to_end`. Raises KafkaUnavailableError after `timeout` seconds.
    """
    client = consumer(config, group)
    try:
        client.assign([TopicPartition(topic, p, OFFSET_END) for p in partitions])
        ends: dict[int, int] = {}
        highest: dict[int, int] = {}
        brokers, began = brokers_of(config), time.monotonic()
        while len(ends) < len(partitions):
            if time.monotonic() - began > timeout:
                raise brokers.given_up(timeout, f"no answer on where topic {topic!r} ends")
            brokers.bear(client, topic, began)
            for message in client.consume(10_000, 0.1):
                partition, error = message.partition(), message.error()
                if error is None:
                    # Of a busy topic, or of a broker whose look-up is wrong: the end comes
                    # later, but what came after the question need not be read.
                    if partition not in highest:
                        place = TopicPartition(topic, partition)
                        _, high = client.get_watermark_offsets(place, cached=True)
                        highest[partition] = high
                    if message.offset() + 1 >= highest[partition]:
                        ends.setdefault(partition, message.offset() + 1)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends.setdefault(partition, message.offset())
                elif not of_group(error):
                    raise failure(config, topic, error)
        return ends
    finally:
        client.close()


def offsets_at(
    config: Config,
    topic: str,
    partitions: Sequence[int],
    time_: datetime,
    timeout: float,
    group: str = ANY_GROUP,
) -> dict[int, int]:
    """Return each partition's first offset whose Kafka timestamp is `time_` or later.

    Where none is it is the last stable offset. Raises KafkaException or KafkaUnavailableError
    if the brokers do not say so within `timeout` seconds.
    """
    client = consumer(config, group)
    try:
        asked = int(time_.timestamp() * 1_000)
        places = [TopicPartition(topic, partition, asked) for partition in partitions]
        found = client.offsets_for_times(places, timeout=timeout)
    finally:
        client.close()
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    offsets = {place.partition: int(place.offset) for place in found if place.offset >= 0}
    late = [partition for partition in partitions if partition not in offsets]
    return offsets | (end_offsets(config, topic, late, timeout, group) if late else {})


def read_to_end(
    config: Config,
    topic: str,
    starts: Mapping[int, int],
    progress: Callable[[int], None] = lambda _: None,
    timeout: float = 60.0,
    group: str = ANY_GROUP,
    isolation: str = "read_committed",
) -> Generator[Message, None, None]:
    """Yield what a topic holds from the given offsets by partition to each partition's end.

    The end is where the broker says so in a fetch: a look-up of the latest offset is wrong on
    some brokers, and with an `isolation` of read_uncommitted it is not where somebody's open
    transaction begins. Raises KafkaUnavailableError after `timeout` seconds without any answer.
    """
    settings = {"auto.offset.reset": "earliest", "isolation.level": isolation}
    client = consumer(config, group, **settings)
    try:
        client.assign([TopicPartition(topic, p, offset) for p, offset in starts.items()])
        brokers, open_, heard = brokers_of(config), set(starts), time.monotonic()
        while open_:
            brokers.bear(client, topic, heard)
            for message in client.consume(10_000, 0.2):
                heard = time.monotonic()
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_.discard(message.partition())
                elif not of_group(error):
                    raise failure(config, topic, error)
            progress(len(open_))
            if time.monotonic() - heard > timeout:
                raise brokers.given_up(timeout, f"no answer reading topic {topic!r}")
    finally:
        client.close()

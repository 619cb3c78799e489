"""Transactions on a topic of Apache Kafka, and how far lag tools see a flow."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.field.topic import Field


class Transactions:
    """A producer that sends records in transactions."""

    def __init__(self, field: Field) -> None:
        self._topic = field.topic
        self._producer = Producer(
            {
                "bootstrap.servers": field.bootstrap,
                "log_level": 0,
                "transactional.id": field.topic,
            }
        )
        self._producer.init_transactions(30)

    def begin(self, *values: bytes, partition: int = 0) -> None:
        """Send records in a transaction that is left open."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self._topic, value, partition=partition)
        assert self._producer.flush(30) == 0

    def commit(self, *values: bytes, partition: int = 0) -> None:
        """Send records and commit them."""
        self.begin(*values, partition=partition)
        self.end()

    def end(self) -> None:
        """Commit what is open."""
        self._producer.commit_transaction(30)

    def abort(self, *values: bytes, partition: int = 0) -> None:
        """Send records and abort them."""
        self.begin(*values, partition=partition)
        self._producer.abort_transaction(30)


@contextmanager
def _admin(field: Field) -> Iterator[AdminClient]:
    yield AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})


def committed(field: Field, group: str = "millstream-payments") -> dict[int, int]:
    """Return a group's offsets by partition, those that it has."""
    # The admin client's answer, where there is no such group yet, ends the process.
    asked = Consumer({"bootstrap.servers": field.bootstrap, "group.id": group, "log_level": 0})
    try:
        known = asked.list_topics(field.topic, timeout=10).topics[field.topic].partitions
        found = asked.committed([TopicPartition(field.topic, p) for p in known], timeout=10)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.NOT_COORDINATOR:
            raise
        return {}  # the group's topic is being made
    finally:
        asked.close()
    return {place.partition: place.offset for place in found if place.offset >= 0}


def ends(field: Field, partitions: int = 1, *, stable: bool = False) -> dict[int, int]:
    """Return each partition's high watermark, or its last stable offset."""
    places = {TopicPartition(field.topic, p): OffsetSpec.latest() for p in range(partitions)}
    level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    with _admin(field) as admin:
        answers = admin.list_offsets(places, isolation_level=level)
        return {place.partition: done.result(10).offset for place, done in answers.items()}


def delete_before(field: Field, offset: int, partition: int = 0) -> None:
    """Delete a partition's records before an offset, as retention does."""
    with _admin(field) as admin:
        place = TopicPartition(field.topic, partition, offset)
        for done in admin.delete_records([place]).values():
            done.result(10)

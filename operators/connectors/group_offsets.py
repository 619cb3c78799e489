"""Group offsets: what lag tools read of how far a flow has come."""

import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from operators.connectors.brokers import LOG, Config, brokers_of
from operators.connectors.kafka_faults import denied

_ANSWER_SECONDS: Final = 10.0
# What passes within a minute, as outages do, is nothing to say: the next epoch commits more.
_PASSING_SECONDS: Final = 60.0


class GroupOffsets:
    """Commits a topic's durable positions to a consumer group, as a service to lag tools.

    Nobody waits for it and nothing fails with it: an offset that was not committed is one in the
    log, and the next epoch's is. One request is under way at a time. Workers of a process,
    which are threads, share it.
    """

    def __init__(self, config: Config, topic: str, group: str) -> None:
        self._config, self._topic, self._group = config, topic, group
        self._admin: AdminClient | None = None
        self._reached: dict[int, int] = {}
        self._due: dict[int, int] = {}
        self._asked: Future[Any] | None = None
        self._failing: float | None = None
        self._said: int | None = None
        self._lock = threading.Lock()

    def reached(self, partition: int, position: int | None) -> None:
        """Note the position of a snapshot, None where it is not known yet."""
        if position is not None:
            self._reached[partition] = position

    def durable(self, partition: int) -> None:
        """Note that the partition's last snapshot is durable."""
        with self._lock:
            if partition in self._reached:
                self._due[partition] = self._reached[partition]

    def send(self) -> None:
        """Commit what is due, unless the answer to the commit before is still to come."""
        if not self._due or (self._asked is not None and not self._asked.done()):
            return
        with self._lock:
            due, self._due = self._due, {}
            if due:
                self._look()
                self._asked = self._commit(due, _ANSWER_SECONDS)

    def finish(self, timeout: float) -> None:
        """Commit all snapshots' positions: the run has ended well, so they are durable.

        Returns after `timeout` seconds at the latest.
        """
        with self._lock:
            if self._reached:
                self._asked = self._commit(self._reached, timeout)
                self._look(timeout, passing=0.0)

    def _commit(self, positions: dict[int, int], timeout: float) -> "Future[Any]":
        if self._admin is None:
            self._admin = brokers_of(self._config).admin()
        self._admin.poll(0)
        places = [TopicPartition(self._topic, p, offset) for p, offset in positions.items()]
        asked = ConsumerGroupTopicPartitions(self._group, places)
        answers = self._admin.alter_consumer_group_offsets([asked], request_timeout=timeout)
        (answer,) = answers.values()
        return answer  # type: ignore[no-any-return] # confluent_kafka has no types

    def _look(self, timeout: float = 0.0, passing: float = _PASSING_SECONDS) -> None:
        """Say in the log what commits fail with, once for each such thing that does not pass."""
        if self._asked is None:
            return
        try:
            places = self._asked.result(timeout).topic_partitions
            errors = [place.error for place in places if place.error is not None]
        except KafkaException as error:
            errors = [error.args[0]]
        except TimeoutError:
            errors = [KafkaError(KafkaError._TIMED_OUT)]
        if not errors:
            self._failing = self._said = None
            return
        now = time.monotonic()
        self._failing = self._failing or now
        why, may_not = (
            errors[0].str(),
            errors[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED,
        )
        if may_not:
            why = denied(self._config, "READ", self._group, ["READ"], "group")
        if errors[0].code() != self._said and (may_not or now - self._failing >= passing):
            LOG.warning(
                "consumer-group offsets not committed; only lag tools need them: %s", why
            )
            self._said = errors[0].code()

"""Group offsets: what lag tools read of how far a flow has come."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from operators.connectors.kafka.brokers import LOG, Config
from operators.connectors.kafka.client import consumer
from operators.connectors.kafka.faults import denied

# What passes within a minute, as outages do, is nothing to say: the next epoch commits more.
_PASSING_SECONDS: Final = 60.0


class GroupOffsets:
    """Commits a topic's durable positions to a consumer group, as a service to lag tools.

    Nobody waits for it and nothing fails with it: an offset that was not committed is one in the
    log, and the next epoch's is. One request is under way at a time. Workers of a process,
    which are threads, share it.

    A consumer that reads nothing commits: librdkafka's admin client aborts the process where a
    broker goes away while a group's coordinator is asked (librdkafka issue 4605).
    """

    def __init__(self, config: Config, topic: str, group: str) -> None:
        self._config, self._topic, self._group = config, topic, group
        self._client: Consumer | None = None
        self._reached: dict[int, int] = {}
        self._due: dict[int, int] = {}
        self._asked = False
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
        if not (self._due or self._asked):
            return
        with self._lock:
            if self._asked:
                self._poll(0)
            if self._due and not self._asked:
                due, self._due = self._due, {}
                self._commit(due)

    def finish(self, timeout: float) -> None:
        """Commit all snapshots' positions: the run has ended well, so they are durable.

        Returns after `timeout` seconds at the latest.
        """
        with self._lock:
            if not self._reached:
                return
            deadline = time.monotonic() + timeout
            self._wait(deadline)
            self._asked = False
            self._commit(self._reached)
            if not self._wait(deadline):
                self._note([KafkaError(KafkaError._TIMED_OUT)], passing=0.0)

    def _wait(self, deadline: float) -> bool:
        """Wait for the answer that is to come, and tell whether it has."""
        while self._asked and time.monotonic() < deadline:
            self._poll(0.05)
        return not self._asked

    def _poll(self, timeout: float) -> None:
        """Take the answer, or that the group may not be used, which is an event and no answer."""
        event = self._client.poll(timeout) if self._client is not None else None
        if event is not None and event.error() is not None:
            self._note([event.error()])

    def _commit(self, positions: dict[int, int]) -> None:
        if self._client is None:
            self._client = consumer(self._config, self._group, on_commit=self._answered)
        places = [TopicPartition(self._topic, p, offset) for p, offset in positions.items()]
        self._client.commit(offsets=places, asynchronous=True)
        self._asked = True

    def _answered(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        self._asked = False
        self._note([error] if error else [each.error for each in places if each.error])

    def _note(self, errors: Sequence[KafkaError], passing: float = _PASSING_SECONDS) -> None:
        """Say in the log what commits fail with, once for each such thing that does not pass."""
        if not errors:
            self._failing = self._said = None
            return
        if self._said == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return
        now = time.monotonic()
        self._failing = self._failing or now
        may_not = errors[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        why = errors[0].str()
        if may_not:
            why = denied(self._config, "READ", self._group, ["READ"], "group")
        if errors[0].code() != self._said and (may_not or now - self._failing >= passing):
            LOG.warning(
                "consumer-group offsets not committed; only lag tools need them: %s", why
            )
            self._said = errors[0].code()

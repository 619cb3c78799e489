"""Producing messages of which none is too large: what the topic refuses goes out smaller."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.connectors.kafka.brokers import Config, brokers_of
from operators.connectors.kafka.faults import denied
from operators.connectors.kafka.outgoing import Outgoing
from operators.errors import KnownError

TOO_LARGE: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


class DeliveryError(KnownError):
    """Messages could not be delivered; the epoch will be replayed."""


class TopicProducer:
    """Sends messages to a topic, and tells `delivered` the partition and offset of each.

    What is too large for librdkafka's limit (`message.max.bytes`) or for the topic's own
    (`max.message.bytes`, which only the broker knows) goes out again without its largest part,
    then without the next one. A broker refuses batches, whole: so a message of one that was
    refused is first sent alone, as it is.
    """

    def __init__(
        self, config: Config, topic: str, delivered: Callable[[int, int], None]
    ) -> None:
        self._brokers = brokers_of(config)
        own = {"enable.idempotence": True, "linger.ms": 2}
        self._config: dict[str, Any] = {**own, **config, **self._brokers.callbacks()}
        self._topic, self._tell = topic, delivered
        self._producer = Producer(self._config)
        self._alone: Producer | None = None
        self._refused: list[tuple[Outgoing, bool]] = []
        self._failed: KafkaError | None = None

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; waits where the client's queue is full.

        Raises DeliveryError for one that is too large though it has no part left to do without.
        """
        for message in messages:
            self._produce(message, alone=False)
        self._producer.poll(0)
        if self._alone is not None:
            self._alone.poll(0)
        self._send_refused()

    def flush(self, seconds: float) -> None:
        """Wait until every message has been delivered; raises DeliveryError if one was not.

        That is after `seconds` with brokers that answer; raises KafkaUnavailableError where they
        stay away, and where the flow is told to end meanwhile.
        """
        while True:
            left = sum(
                self._brokers.flush(each, self._topic, seconds)
                for each in (self._producer, self._alone)
                if each is not None
            )
            if self._failed and self._failed.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise DeliveryError(denied(self._config, "WRITE", self._topic, ["WRITE"]))
            if left or self._failed:
                why = self._failed.str() if self._failed else f"no answer in {seconds:.0f} s"
                raise DeliveryError(f"{self._topic}: {left} messages not delivered: {why}")
            if not self._refused:
                return
            self._send_refused()

    def _send_refused(self) -> None:
        refused, self._refused = self._refused, []
        for message, was_alone in refused:
            self._produce(self._reduced(message) if was_alone else message, alone=True)

    def _produce(self, message: Outgoing, *, alone: bool) -> None:
        producer = self._one_by_one() if alone else self._producer
        while True:
            try:
                producer.produce(
                    self._topic,
                    message.value,
                    message.key,
                    headers=message.all_headers(),
                    on_delivery=partial(self._delivered, message, alone),
                )
                return
            except BufferError:
                producer.poll(0.1)
                self._brokers.bear(producer, self._topic, time.monotonic())
            except KafkaException as error:
                if error.args[0].code() not in TOO_LARGE:
                    raise
                message = self._reduced(message)

    def _one_by_one(self) -> Producer:
        if self._alone is None:
            self._alone = Producer({**self._config, "batch.num.messages": 1})
        return self._alone

    def _reduced(self, message: Outgoing) -> Outgoing:
        smaller = message.smaller()
        if smaller is None:
            size = sum(len(name) + len(value or b"") for name, value in message.all_headers())
            raise DeliveryError(
                f"topic {self._topic} takes no message of {size} bytes, which is one with nothing "
                "but the headers that say what it was: raise the topic's max.message.bytes, and "
                "MILLSTREAM_KAFKA_MESSAGE_MAX_BYTES where it is set"
            )
        return smaller

    def _delivered(
        self, message: Outgoing, alone: bool, error: KafkaError | None, sent: Message
    ) -> None:
        if error is None:
            self._tell(sent.partition(), sent.offset())
        elif error.code() in TOO_LARGE:
            self._refused.append((message, alone))
        else:
            self._failed = error

"""Control topics: made where they are missing, and refused where changes would be lost."""

from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.brokers import brokers_of
from operators.connectors.kafka.topic_ids import identify
from operators.connectors.kafka.topics import absent, make, wait_for_partitions
from operators.errors import KnownError

_ANSWER_SECONDS: Final = 10.0

MADE_WITH: Final = {
    "cleanup.policy": "compact",
    # Longer than topics of events are kept as a rule: what reads these again finds all changes.
    "min.compaction.lag.ms": str(30 * 24 * 3600 * 1000),
    # The brokers' clock, not that of whoever changes something.
    "message.timestamp.type": "LogAppendTime",
}
"""The settings that a control topic is made with."""


class ControlTopicError(KnownError):
    """A topic cannot carry changes; the message says what to do."""


def ensure(config: kafka.Config, topic: str, timeout: float) -> str:
    """Return the identity of a control topic, which is made if it is not there.

    Raises ControlTopicError for one that cannot be used or made, and KafkaUnavailableError.
    """
    brokers = brokers_of(config)
    with brokers.admin() as admin:
        brokers.wait(admin, lambda: _there_or_made(config, admin, topic, timeout), timeout)
        partitions = wait_for_partitions(config, topic, timeout)
        if len(partitions) != 1:
            raise ControlTopicError(
                f"control topic {topic} has {len(partitions)} partitions, between which changes "
                "have no order: make it with one, or name another topic"
            )
        _refuse_deleting(admin, topic)
    return identify(config, [topic], timeout)[topic]


def try_out(config: kafka.Config, topic: str, timeout: float) -> str:
    """Say of a control topic that it is there; none is made by asking. Raises as `ensure`."""
    with brokers_of(config).admin() as admin:
        if absent(config, admin, topic, ("READ",), timeout):
            return "is not there yet: the flow, or the first change, makes it, where it may"
    ensure(config, topic, timeout)
    return "may be read, and keeps changes in their order"


def _there_or_made(
    config: kafka.Config, admin: AdminClient, topic: str, timeout: float
) -> None:
    if not absent(config, admin, topic, ("READ",), timeout):
        return
    refusal = make(admin, NewTopic(topic, 1, config=dict(MADE_WITH)), timeout)
    if refusal is None:
        return
    if refusal.retriable():
        raise KafkaException(refusal)
    stated = ", ".join(f"{name}={value}" for name, value in MADE_WITH.items())
    raise ControlTopicError(
        f"control topic {topic} is not there and cannot be created: {refusal.str()}; create "
        f"it, with one partition and {stated}"
    )


def _refuse_deleting(admin: AdminClient, topic: str) -> None:
    """Refuse a topic that forgets: a rule would go back to its file by and by."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        (asked,) = admin.describe_configs([resource], request_timeout=_ANSWER_SECONDS).values()
        found = asked.result(_ANSWER_SECONDS + 1)
        policy, kept = str(found["cleanup.policy"].value), found.get("retention.ms")
    except (KafkaException, FutureTimeoutError, KeyError):
        return  # not every broker tells, nor may every user ask
    if "delete" in policy and (kept is None or str(kept.value) != "-1"):
        raise ControlTopicError(
            f"control topic {topic} has cleanup.policy={policy}: it would lose changes that hold; "
            "set its cleanup.policy to compact, or name another topic"
        )


def send(
    config: kafka.Config, topic: str, records: Sequence[tuple[bytes, bytes]], timeout: float
) -> list[int]:
    """Send records, in order, and return their offsets; raises ControlTopicError."""
    brokers = brokers_of(config)
    own = {"enable.idempotence": True, "message.timeout.ms": int(timeout * 1000)}
    producer = Producer({**own, **config, **brokers.callbacks()})
    offsets: list[int] = []
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            offsets.append(message.offset() or 0)

    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key, 0, delivered)
                break
            except BufferError:
                producer.poll(0.1)
    left = producer.flush(timeout)
    if failed or left:
        why = failed[0].str() if failed else f"no answer in {timeout:.0f} s"
        raise ControlTopicError(
            f"control topic {topic}: {len(offsets)} of {len(records)} changes were sent: {why}"
        )
    return sorted(offsets)

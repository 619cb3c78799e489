"""Output topics: made where they are missing, and refused where they would lose messages."""

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from operators.connectors.kafka import (
    LOG,
    Config,
    KafkaUnavailableError,
    admin_client,
    wait_for_partitions,
)
from operators.errors import KnownError

# What passes by itself: brokers that are slow, or not all up yet.
_PASSING: Final = (
    KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER, KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.BROKER_NOT_AVAILABLE,
)  # fmt: skip
_ANSWER_SECONDS: Final = 10.0


class OutputTopicError(KnownError):
    """A topic cannot take the flow's messages; the message says what to do."""


def ensure(config: Config, topic: str, partitions: int, timeout: float) -> list[int]:
    """Return the partitions of an output topic, which is created if it does not exist.

    It is created with so many partitions and the cluster's default replication; one that is
    there may have another number. Waits up to `timeout` seconds for the brokers. Raises
    OutputTopicError if it may not be created or is compacted, and KafkaUnavailableError.
    """
    admin = admin_client(config)
    _create(admin, topic, partitions, timeout)
    found = wait_for_partitions(config, topic, timeout)
    _refuse_compacted(admin, topic)
    return found


def _create(admin: AdminClient, topic: str, partitions: int, timeout: float) -> None:
    deadline, pause = time.monotonic() + timeout, 0.1
    answer = min(_ANSWER_SECONDS, max(timeout / 4, 0.2))
    while True:
        try:
            if topic in admin.list_topics(timeout=answer).topics:
                return
            (made,) = admin.create_topics(
                [NewTopic(topic, partitions)], operation_timeout=answer, request_timeout=answer
            ).values()
            made.result(answer + 1)
            return
        except (KafkaException, FutureTimeoutError) as raised:
            error = raised.args[0] if isinstance(raised, KafkaException) else None
            if error is not None and error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            problem = "no answer" if error is None else error.str()
            if error is not None and error.code() not in _PASSING:
                raise OutputTopicError(
                    f"topic {topic} is not there and cannot be created: {problem}; create it, with "
                    "cleanup.policy=delete, or let the flow's user create it"
                ) from None
        if time.monotonic() + pause > deadline:
            raise KafkaUnavailableError(
                f"topic {topic} is not there and was not created: {problem} (tried for "
                f"{timeout:.0f} s); check that enough brokers run, or create it"
            )
        LOG.warning("waiting for Kafka to create topic %s: %s", topic, problem)
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _refuse_compacted(admin: AdminClient, topic: str) -> None:
    """Refuse a topic that keeps the last message of a key alone: others are lost, by and by.

    It takes no message without a key either, and a dead letter may have none.
    """
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        (asked,) = admin.describe_configs([resource], request_timeout=_ANSWER_SECONDS).values()
        policy = asked.result(_ANSWER_SECONDS + 1)["cleanup.policy"].value
    except (KafkaException, FutureTimeoutError, KeyError):
        # Not every broker tells, nor may every user ask (it takes DescribeConfigs).
        LOG.debug("not known whether topic %s is compacted", topic)
        return
    if "compact" in str(policy):
        raise OutputTopicError(
            f"topic {topic} has cleanup.policy={policy}: it would lose all messages of a key but "
            "the last one, and takes none without a key; set its cleanup.policy to delete, or "
            "name another topic"
        )

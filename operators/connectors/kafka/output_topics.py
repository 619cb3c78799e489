"""Output topics: made where they are missing, and refused where they would lose messages."""

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from operators.connectors.kafka.brokers import LOG, Config, brokers_of
from operators.connectors.kafka.faults import denied
from operators.connectors.kafka.topics import (
    OUTPUT,
    absent,
    describe,
    make,
    wait_for_partitions,
)
from operators.errors import KnownError

_MAY_NOT: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)  # fmt: skip
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
    brokers = brokers_of(config)
    with brokers.admin() as admin:
        brokers.wait(
            admin, lambda: _there_or_made(config, admin, topic, partitions, timeout), timeout
        )
        found = wait_for_partitions(config, topic, timeout, OUTPUT)
        refuse_compacted(admin, topic)
    return found


def try_out(config: Config, topic: str, timeout: float, *, other: str) -> str:
    """Say of an output topic that it is there, or could be made; none is made by asking.

    `other` is a topic that is there. Raises OutputTopicError and KafkaUnavailableError as
    `ensure` does.
    """
    brokers = brokers_of(config)
    with brokers.admin() as admin:
        try:
            describe(config, admin, topic, OUTPUT, timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            refuse_compacted(admin, topic)
            return "may be written to and read"
        # Brokers that tell no rights are none of Apache Kafka's, and may make what is only tried.
        if describe(config, admin, other, (), timeout).authorized_operations is None:
            return "is not there yet: the flow makes it, where it may"
        brokers.wait(
            admin, lambda: _there_or_made(config, admin, topic, 1, timeout, try_=True), timeout
        )
        return "is not there yet, and may be made"


def _there_or_made(
    config: Config,
    admin: AdminClient,
    topic: str,
    partitions: int,
    timeout: float,
    *,
    try_: bool = False,
) -> None:
    """See that the topic is there, or make it; raises KafkaException for what may pass.

    Where it is only to be tried none is made.
    """
    if not absent(config, admin, topic, OUTPUT, timeout):
        return
    refusal = make(admin, NewTopic(topic, partitions), timeout, try_=try_)
    if refusal is None:
        return
    if refusal.code() in _MAY_NOT:
        text = denied(config, "CREATE", topic, ("CREATE", *OUTPUT))
        raise OutputTopicError(f"{text}, or create it")
    if refusal.code() not in _PASSING:
        raise OutputTopicError(
            f"topic {topic} is not there and cannot be created: {refusal.str()}; create it, "
            "with cleanup.policy=delete, or let the flow's user create it"
        )
    text = f"topic {topic} is not there and not created: {refusal.str()}"
    raise KafkaException(KafkaError(refusal.code(), text))


def refuse_compacted(admin: AdminClient, topic: str) -> None:
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

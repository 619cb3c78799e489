"""Topics as the brokers describe them: are they there, and what may this client do with them."""

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic, TopicDescription

from operators.connectors.kafka.brokers import (
    Config,
    KafkaUnavailableError,
    brokers_of,
    try_seconds,
)
from operators.connectors.kafka.faults import NO_TOPIC, denied

OUTPUT: Final = ("READ", "WRITE")
"""The rights that a topic needs that is written to: what is in it already is read at a start."""


def wait_for_partitions(
    config: Config, topic: str, timeout: float, rights: Sequence[str] = ("READ",)
) -> list[int]:
    """Return a topic's partitions, waiting up to `timeout` seconds for the brokers and it.

    Raises KafkaUnavailableError with what to check, at once where this client may not do with
    the topic what its `rights` say, as far as the brokers tell.
    """
    brokers = brokers_of(config)
    with brokers.admin() as admin:
        found = brokers.wait(
            admin, lambda: describe(config, admin, topic, rights, timeout), timeout
        )
    return sorted(each.id for each in found.partitions)


def describe(
    config: Config, admin: AdminClient, topic: str, rights: Sequence[str], timeout: float
) -> TopicDescription:
    """Return what the brokers say of a topic; it is not made by the question.

    Raises KafkaException, and KafkaUnavailableError where a right is lacking.
    """
    try:
        found = _ask(admin, topic, timeout, rights_too=True)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaUnavailableError(denied(config, "DESCRIBE", topic, rights)) from None
        if code != KafkaError._UNSUPPORTED_FEATURE:
            raise
        return _ask(admin, topic, timeout, rights_too=False)
    allowed = found.authorized_operations
    # Some brokers do not tell.
    lacking = [each for each in rights if AclOperation[each] not in (allowed or AclOperation)]
    if lacking:
        raise KafkaUnavailableError(denied(config, " and ".join(lacking), topic, lacking))
    return found


def _ask(
    admin: AdminClient, topic: str, timeout: float, *, rights_too: bool
) -> TopicDescription:
    (asked,) = admin.describe_topics(
        TopicCollection([topic]),
        include_authorized_operations=rights_too,
        request_timeout=try_seconds(timeout),
    ).values()
    try:
        return asked.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            text = f"{NO_TOPIC}{topic!r}"
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, text)) from None
        raise


def count_brokers(config: Config, timeout: float) -> int:
    """Return how many brokers the cluster has.

    Raises KafkaUnavailableError if they do not say so within `timeout` seconds.
    """
    brokers = brokers_of(config)
    with brokers.admin() as admin:
        return brokers.wait(admin, lambda: _count(admin, timeout), timeout)


def _count(admin: AdminClient, timeout: float) -> int:
    return len(admin.describe_cluster(request_timeout=try_seconds(timeout)).result().nodes)


def absent(
    config: Config, admin: AdminClient, topic: str, rights: Sequence[str], timeout: float
) -> bool:
    """Tell whether there is no such topic; raises as `describe` for all else."""
    try:
        describe(config, admin, topic, rights, timeout)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
        return True
    return False


def make(
    admin: AdminClient, topic: NewTopic, timeout: float, *, try_: bool = False
) -> KafkaError | None:
    """Make a topic and return why it is not made; None if it is, or is there by then.

    Where it is only to be tried none is made.
    """
    answer = try_seconds(timeout)
    (made,) = admin.create_topics(
        [topic], operation_timeout=answer, request_timeout=answer, validate_only=try_
    ).values()
    try:
        made.result()
    except KafkaException as raised:
        refusal: KafkaError = raised.args[0]
        return None if refusal.code() == KafkaError.TOPIC_ALREADY_EXISTS else refusal
    return None

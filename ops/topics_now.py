"""Topics now: what the brokers say of topics, or why they say nothing."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from operators.connectors.kafka import client as kafka
from operators.connectors.kafka import topic_ids
from operators.connectors.kafka.brokers import try_seconds

SECONDS: Final = 3.0
"""How long each answer may take."""

RECENT: Final = timedelta(minutes=5)
"""What came within this time may well be unread yet."""

_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Topic:
    """A topic: which it is, and by partition its first offset and its last stable one.

    `recent` is the first offset of what came within `RECENT`, by Kafka's timestamps.
    """

    name: str
    identity: str
    firsts: dict[int, int]
    ends: dict[int, int]
    recent: dict[int, int]

    @property
    def partitions(self) -> list[int]:
        """Its partitions."""
        return sorted(self.ends)


@dataclass(frozen=True)
class Cluster:
    """Those of the topics asked for that are there; `why` says why nothing is known."""

    servers: str = ""
    topics: dict[str, Topic] = field(default_factory=dict)
    why: str | None = None
    groups: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    """By consumer group and partition the next offset that was committed to it."""


def ask(
    config: Mapping[str, str], names: Iterable[str], groups: Mapping[str, Iterable[str]]
) -> Cluster:
    """Ask the brokers for topics, and for where groups are in theirs."""
    servers = config.get("bootstrap.servers", "")
    try:
        there = _there(config, set(names))
        identities = topic_ids.identify(config, there, SECONDS) if there else {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # Brokers answer at the end of a topic when they have waited for more.
            ends = pool.map(
                lambda name: kafka.end_offsets(config, name, there[name], SECONDS), there
            )
            topics = {
                name: Topic(
                    name,
                    identities[name],
                    kafka.first_offsets(config, name, partitions, SECONDS),
                    end,
                    _recent(config, name, end),
                )
                for (name, partitions), end in zip(there.items(), ends, strict=True)
            }
    except kafka.KafkaUnavailableError as error:
        return Cluster(servers, why=str(error))
    found = {
        group: _committed(config, group, [topics[t] for t in reads if t in topics])
        for group, reads in groups.items()
    }
    return Cluster(servers, topics, groups=found)


def _there(config: Mapping[str, str], names: set[str]) -> dict[str, list[int]]:
    """Return the partitions of those topics that are there; none is made by asking."""
    brokers = kafka.brokers_of(config)
    with brokers.admin() as admin:
        found = brokers.wait(
            admin, lambda: admin.list_topics(timeout=try_seconds(SECONDS)), SECONDS
        )
    return {
        name: sorted(each.partitions)
        for name, each in found.topics.items()
        if name in names and each.error is None
    }


def _recent(config: Mapping[str, str], topic: str, ends: Mapping[int, int]) -> dict[int, int]:
    """Return by partition the first offset of what came recently, the end if nothing did."""
    since = OffsetSpec.for_timestamp(int((time.time() - RECENT.total_seconds()) * 1000))
    places = {TopicPartition(topic, partition): since for partition in ends}
    brokers = kafka.brokers_of(config)
    with brokers.admin() as admin:

        def question() -> dict[int, int]:
            answers = admin.list_offsets(places, request_timeout=try_seconds(SECONDS))
            return {place.partition: each.result().offset for place, each in answers.items()}

        found = brokers.wait(admin, question, SECONDS)
    return {p: offset if offset >= 0 else ends[p] for p, offset in found.items()}


def _committed(
    config: Mapping[str, str], group: str, topics: Iterable[Topic]
) -> dict[tuple[str, int], int]:
    """Return what a group has committed; nothing where we may not know."""
    places = [TopicPartition(topic.name, p) for topic in topics for p in topic.partitions]
    if not places:
        return {}
    # No admin client, which aborts the process where a coordinator goes away.
    client = kafka.consumer(config, group)
    try:
        found = client.committed(places, timeout=SECONDS)
    except KafkaException:
        return {}
    finally:
        client.close()
    return {
        (each.topic, each.partition): int(each.offset)
        for each in found
        if each.error is None and each.offset >= 0
    }


def refuse_gone(topic: str, firsts: Mapping[int, int], positions: Mapping[int, int]) -> None:
    """Refuse a topic that lacks what is to be read next; offsets are by partition.

    Raises OffsetGoneError, as a flow would when it comes to read there.
    """
    gone = [
        f"partition {p} begins at {firsts[p]:,}, {offset:,} is the next to read"
        for p, offset in sorted(positions.items())
        if firsts.get(p, 0) > offset
    ]
    if gone:
        raise kafka.OffsetGoneError(
            f"retention has deleted unread records of topic {topic}: {'; '.join(gone)}. Restore "
            "the topic, or start with an empty recovery directory and tables to read what there is"
        )

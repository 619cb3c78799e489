"""Servers: brokers, Redis and the registry, with the rights that a flow needs of each."""

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AclOperation

from flows.catalog import Flow
from flows.settings import Settings
from flows.sources import files_needed
from operators.connectors import file_limit
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka import control_topic, output_topics, topic_ids
from operators.connectors.kafka.faults import denied
from operators.connectors.redis import client as redis
from operators.connectors.registry import schema_source as registry
from operators.errors import KnownError
from ops.doctor.checks import NoteError

SECONDS: Final = 5.0
"""How long each server is waited for."""

APART: Final = 2.0
"""How many seconds clocks may be apart."""

# What the flow's scripts and its client do, with what nothing else has the name of.
_TRY: Final = """
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('HSET', KEYS[2], 'a', '1')
redis.call('PEXPIRE', KEYS[2], 1000)
redis.call('HGET', KEYS[2], 'a')
redis.call('HMGET', KEYS[2], 'a', 'b')
return redis.call('GET', KEYS[1])
"""


class ClockError(KnownError):
    """Two clocks are apart."""


class Servers:
    """The servers of some settings, and what they answered that is needed later."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._brokers = 0
        self.topics: dict[str, list[int]] = {}
        self.identities: dict[str, str] = {}

    @property
    def _config(self) -> Mapping[str, str]:
        return self._settings.kafka

    def brokers(self) -> str:
        """See that the brokers answer."""
        self._brokers = kafka.count_brokers(self._config, SECONDS)
        many = "" if self._brokers == 1 else "s"
        return f"{self._config['bootstrap.servers']} answers, {self._brokers} broker{many}"

    def read(self, topic: str) -> str:
        """See that a topic is there and may be read, which one it is, and its clock."""
        self.topics[topic] = kafka.wait_for_partitions(self._config, topic, SECONDS)
        self.identities |= topic_ids.identify(self._config, [topic], SECONDS)
        if self.identities[topic].endswith("/"):
            raise NoteError(
                f"the brokers give topic {topic} no id, as Kafka does since 2.8; update them, or "
                "never make a topic anew under its name"
            )
        return f"{len(self.topics[topic])} partitions, may be read"

    def newest(self, topic: str) -> str:
        """See that no record is of a time that is still to come, by this machine's clock."""
        ahead = 0.0
        for message in self._last(topic, self.topics[topic]):
            _, milliseconds = message.timestamp()
            ahead = max(ahead, milliseconds / 1000 - time.time())
        if ahead > APART:
            raise ClockError(
                f"records of topic {topic} have timestamps {ahead:,.0f} s ahead of this machine's "
                "clock; set the clocks of producers, brokers and this machine by NTP"
            )
        return "the newest records' timestamps are not ahead of this machine's clock"

    def _last(self, topic: str, partitions: list[int]) -> list[Any]:
        ends = kafka.end_offsets(self._config, topic, partitions, SECONDS)
        firsts = kafka.first_offsets(self._config, topic, partitions, SECONDS)
        places = [
            TopicPartition(topic, p, end - 1) for p, end in ends.items() if end > firsts[p]
        ]
        client = kafka.consumer(self._config, kafka.ANY_GROUP)
        found: dict[int, Any] = {}
        over: set[int] = set()
        try:
            client.assign(places)
            deadline = time.monotonic() + SECONDS
            while len(found.keys() | over) < len(places) and time.monotonic() < deadline:
                for message in client.consume(100, 0.2):
                    if message.error() is None:
                        found[message.partition()] = message
                    else:
                        # A transaction's marker is the last.
                        over.add(message.partition())
        finally:
            client.close()
        return list(found.values())

    def write(self, topic: str, other: str) -> str:
        """See that a topic may be written to and read, or made; `other` is one that is there."""
        return output_topics.try_out(self._config, topic, SECONDS, other=other)

    def control(self, topic: str) -> str:
        """See that a control topic may be read, and keeps what it is told."""
        return control_topic.try_out(self._config, topic, SECONDS)

    def group(self, group: str) -> str:
        """See that offsets may be committed for lag tools."""
        with kafka.admin_client(self._config) as admin:
            asked = admin.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=SECONDS
            )
            try:
                allowed = asked[group].result(SECONDS + 1).authorized_operations
            except KafkaException as error:
                raise NoteError(
                    denied(self._config, "READ", group, ["READ"], "group")
                    if "uthoriz" in str(error)
                    else f"consumer group {group}: {error.args[0].str()}; only lag tools need it"
                ) from None
        if allowed and AclOperation.READ not in allowed:
            raise NoteError(denied(self._config, "READ", group, ["READ"], "group"))
        return "offsets may be committed to it"

    def files(self, flow: Flow) -> str:
        """See that a process may open as many files and sockets as the flow needs."""
        partitions = max(len(self.topics[topic]) for topic in flow.topics)
        needed = files_needed(partitions, self._brokers)
        file_limit.ensure(needed)
        return f"{needed:,} files and sockets may be open"

    def redis(self) -> str:
        """See that Redis is one that flows can work with, may be used, and its clock."""
        client = redis.connect(self._settings.redis_url.get_secret_value(), SECONDS)
        outage = redis.outage_of(client)
        # In one slot, should it be a cluster's.
        name = f"millstream:{{doctor-{secrets.token_hex(4)}}}"
        with client:
            redis.waited(
                client, outage, lambda: client.eval(_TRY, 2, f"{name}:1", f"{name}:2"), SECONDS
            )
            asked = time.time()
            info = redis.waited(client, outage, lambda: client.info("server"), SECONDS)
        theirs = info.get("server_time_usec")
        if theirs is not None:
            apart = int(theirs) / 1e6 - asked
            if abs(apart) > APART:
                raise ClockError(
                    f"Redis' clock is {apart:+,.0f} s off this machine's: ids would expire too "
                    "early or too late; set both by NTP"
                )
        which = info.get("server_name", "redis").capitalize()
        release = info.get(f"{which.lower()}_version") or info.get("redis_version", "")
        return f"{which} {release} does all that is needed, and its clock is right"

    def registry(self) -> str:
        """See that schemas can be had."""
        where = self._settings.schema_registry.get_secret_value()
        registry.open_registry(where, self._settings.registry_config, timeout=SECONDS)
        return "answers" if where.startswith("http") else "schemas are files"

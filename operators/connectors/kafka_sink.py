"""Kafka sink: every message once, without transactions, by what is already in the topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.batches import Progress
from operators.connectors.kafka import (
    ANY_GROUP,
    LOG,
    Config,
    first_offsets,
    headers_of,
    read_to_end,
)

ID_HEADER: Final = "millstream.id"
SOURCE_HEADER: Final = "millstream.source"
LEFT_OUT_HEADER: Final = "millstream.value_left_out"
STATE_VERSION: Final = 1
_FLUSH_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0

Coordinates: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send: its deterministic id, and the coordinates of the record behind it."""

    id: str
    source: Coordinates
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


KafkaItem: TypeAlias = Sequence[Outgoing] | Progress


class DeliveryError(RuntimeError):
    """Messages could not be delivered; the epoch will be replayed."""


class _Topic(StatefulSinkPartition[KafkaItem, dict[str, Any]]):
    def __init__(
        self,
        config: Config,
        topic: str,
        partitions: Sequence[int],
        group: str,
        state: dict[str, Any] | None,
    ) -> None:
        self._topic = topic
        self._ends = dict.fromkeys(partitions, 0)
        if state is not None:
            self._ends.update({int(p): offset for p, offset in state["ends"].items()})
        # Where the next start reads from: it moves on only when no message behind it can be
        # made again, as a replay may be cut off by another crash.
        self._read_from = dict(self._ends)
        self._sent: dict[str, Coordinates] = {}
        # Ours are in no transaction, and may be behind one that somebody else has open.
        for message in read_to_end(
            config, topic, self._ends, group=group, isolation="read_uncommitted"
        ):
            self._remember(message)
        if self._sent:
            LOG.info("%s: %d messages to skip if they are made again", topic, len(self._sent))
        # Asked only now, so that nothing can be deleted unnoticed before it is read.
        self._declare_deleted(first_offsets(config, topic, partitions, _START_SECONDS))
        self._reached: dict[tuple[str, int], int] = {}
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {"enable.idempotence": True, "linger.ms": 2, **config}, logger=LOG
        )

    def _declare_deleted(self, firsts: Mapping[int, int]) -> None:
        """Say where ids are lost that a replay may make again: it sends those twice."""
        for partition, first in sorted(firsts.items()):
            begin = self._read_from[partition]
            if first <= begin:
                continue
            LOG.warning(
                "%s/%d: at least once from here to the end of this start's replay, not exactly "
                "once: offsets %d to %d were deleted before this start could read which messages "
                "they were, so those that the replay makes again are sent twice. Let the topic "
                "keep messages (retention.ms) for longer than the flow may be down",
                self._topic, partition, begin, first - 1,
            )  # fmt: skip
            # Else every later start would say it again.
            self._ends[partition] = max(self._ends[partition], first)

    def _remember(self, message: Message) -> None:
        self._ends[message.partition()] = message.offset() + 1
        try:
            headers = headers_of(message)
            topic, partition, offset = headers[SOURCE_HEADER].decode().rsplit("/", 2)
            self._sent[headers[ID_HEADER].decode()] = topic, int(partition), int(offset)
        except (KeyError, ValueError, AttributeError):
            LOG.debug("a message in %s is not ours", self._topic)

    def write_batch(self, values: list[KafkaItem]) -> None:
        for item in values:
            if isinstance(item, Progress):
                self._reached[item.topic, item.partition] = item.offset
                continue
            for message in item:
                if self._sent.pop(message.id, None) is None:
                    self._produce(message)
        self._producer.poll(0)

    def _produce(self, message: Outgoing) -> None:
        headers = [
            *message.headers,
            (ID_HEADER, message.id.encode()),
            (SOURCE_HEADER, "/".join(map(str, message.source)).encode()),
        ]
        value = message.value
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value,
                    message.key,
                    headers=headers,
                    on_delivery=self._delivered,
                )
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE or value is None:
                    raise
                # A record as large as the broker takes, and our headers on top: without this
                # it would stop the flow at every start.
                value = None
                headers.append((LEFT_OUT_HEADER, b"larger than message.max.bytes"))

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed = error
        else:
            partition = message.partition()
            self._ends[partition] = max(self._ends.get(partition, 0), message.offset() + 1)

    def snapshot(self) -> dict[str, Any]:
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failed:
            why = self._failed.str() if self._failed else f"no answer in {_FLUSH_SECONDS:.0f} s"
            raise DeliveryError(f"{self._topic}: {left} messages not delivered: {why}")
        self._sent = {
            id_: (topic, partition, offset)
            for id_, (topic, partition, offset) in self._sent.items()
            if offset > self._reached.get((topic, partition), -1)
        }
        if not self._sent:
            self._read_from = dict(self._ends)
        return {"version": STATE_VERSION, "ends": dict(self._read_from)}


class KafkaSink(FixedPartitionedSink[KafkaItem, dict[str, Any]]):
    """Sends `(topic, messages)` and `(topic, progress)` items, each message exactly once.

    Messages go out at once, for latency, by an idempotent producer; the epoch's end flushes
    and checks every delivery and keeps the topic's end. A restart reads what lies behind that
    end and skips those ids when the replay makes them again. That holds as long as the output
    topic keeps a message for longer than an outage; where it did not, the start says so in the
    log and that replay's messages are sent at least once. Each topic belongs to one worker.
    """

    def __init__(
        self, config: Config, topics: Mapping[str, Sequence[int]], group: str = ANY_GROUP
    ) -> None:
        """`topics` maps each topic to its partitions; they are read as of a consumer `group`."""
        self._config, self._topics, self._group = config, topics, group

    def list_parts(self) -> list[str]:
        """Return the topics."""
        return sorted(self._topics)

    def part_fn(self, item_key: str) -> int:
        """Return the place of a topic among the parts, which Bytewax sorts."""
        return self.list_parts().index(item_key)

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSinkPartition[KafkaItem, dict[str, Any]]:
        """Open a topic behind its recovered end."""
        return _Topic(self._config, for_part, self._topics[for_part], self._group, resume_state)

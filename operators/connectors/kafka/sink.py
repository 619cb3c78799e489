"""Kafka sink: every message once, without transactions, by what is already in the topic."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import Message

from operators.connectors.kafka.client import (
    ANY_GROUP,
    LOG,
    Config,
    end_offsets,
    first_offsets,
    headers_of,
    read_to_end,
)
from operators.connectors.kafka.outgoing import (
    ID_HEADER,
    SOURCE_HEADER,
    SOURCE_ID_HEADER,
    Coordinates,
    KafkaItem,
    Outgoing,
)
from operators.connectors.kafka.producer import TopicProducer
from operators.connectors.named_sink import NamedSink
from operators.records.batches import Progress

STATE_VERSION: Final = 2
_FLUSH_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 600.0


class _Topic(StatefulSinkPartition[KafkaItem, dict[str, Any]]):
    def __init__(
        self,
        config: Config,
        topic: str,
        identity: str,
        partitions: Sequence[int],
        group: str,
        sources: Mapping[str, str],
        mine: Mapping[str, Sequence[int]] | None,
        unchanged: Callable[[], None],
        state: dict[str, Any] | None,
    ) -> None:
        self._topic, self._identity, self._sources = topic, identity, sources
        self._unchanged, self._mine = unchanged, mine
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._group, self._config = group, config
        self._ends = dict.fromkeys(partitions, 0)
        if state is not None:
            self._resume(state)
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
        self._producer = TopicProducer(config, topic, self._delivered)

    def _resume(self, state: dict[str, Any]) -> None:
        # States of version 1 know the topic's name alone: which one it is, they take up now.
        if not _same_topic(state.get("topic") or self._identity, self._identity):
            LOG.warning(
                "topic %s was made anew: it is read from its beginning, to skip what the replay "
                "makes again of what is in it; what was in the topic before is not sent again",
                self._topic,
            )
            return
        ends = {int(partition): offset for partition, offset in state["ends"].items()}
        self._ends.update((p, offset) for p, offset in ends.items() if p in self._ends)

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
            if self._mine and int(partition) not in self._mine.get(topic, (int(partition),)):
                return
            # Of a topic that has been made anew since, the same id is another message's.
            made_of = headers.get(SOURCE_ID_HEADER, b"").decode()
            if made_of and made_of != self._sources.get(topic, made_of):
                return
            self._sent[headers[ID_HEADER].decode()] = topic, int(partition), int(offset)
        except (KeyError, ValueError, AttributeError):
            LOG.debug("a message in %s is not ours", self._topic)

    def write_batch(self, values: list[KafkaItem]) -> None:
        new: list[Outgoing] = []
        for item in values:
            if isinstance(item, Progress):
                self._reached[item.topic, item.partition] = item.offset
            else:
                new += [
                    each.of(self._sources.get(each.source[0]))
                    for each in item
                    if self._sent.pop(each.id, None) is None
                ]
        self._producer.send(new)

    def _delivered(self, partition: int, offset: int) -> None:
        self._ends[partition] = max(self._ends.get(partition, 0), offset + 1)

    def snapshot(self) -> dict[str, Any]:
        self._unchanged()
        self._producer.flush(_FLUSH_SECONDS)
        self._sent = {
            id_: (topic, partition, offset)
            for id_, (topic, partition, offset) in self._sent.items()
            if offset > self._reached.get((topic, partition), -1)
        }
        if not self._sent:
            self._look()
            self._read_from = dict(self._ends)
        ends = dict(self._read_from)
        return {"version": STATE_VERSION, "ends": ends, "topic": self._identity}

    def _look(self) -> None:
        """See now and then where a topic ends that others write to as well.

        All that is to be skipped is before it by now; behind the last of ours would be too much to
        read at a start, and some of it deleted.
        """
        if self._mine is None or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        common = self._config, self._topic, [*self._ends], _START_SECONDS, self._group
        for partition, end in end_offsets(*common).items():
            self._ends[partition] = max(self._ends[partition], end)


def _same_topic(known: str, identity: str) -> bool:
    """Compare `<cluster id>/<topic id>`; some brokers give topics no id, or begin to one day."""
    if known.endswith("/") or identity.endswith("/"):
        return known.rpartition("/")[0] == identity.rpartition("/")[0]
    return known == identity


class KafkaSink(NamedSink[KafkaItem, dict[str, Any]]):
    """Sends `(topic, messages)` and `(topic, progress)` items, each message exactly once.

    Messages go out at once, for latency, by an idempotent producer; the epoch's end flushes
    and checks every delivery and keeps the topic's end. A restart reads what lies behind that
    end and skips those ids when the replay makes them again. That holds as long as the output
    topic keeps a message for longer than an outage; where it did not, the start says so in the
    log and that replay's messages are sent at least once. A topic that was made anew is read
    from its beginning. Each topic belongs to one worker.
    """

    def __init__(
        self,
        config: Config,
        topics: Mapping[str, Sequence[int]],
        identities: Mapping[str, str] | None = None,
        group: str = ANY_GROUP,
        sources: Mapping[str, str] | None = None,
        mine: Mapping[str, Sequence[int]] | None = None,
        unchanged: Callable[[], None] = lambda: None,
    ) -> None:
        """`topics` maps each topic to its partitions, `identities` to which topic it is.

        They are read as of a consumer `group`. `sources` are the identities of the topics that
        the messages are made of. Where other slices of the flow send to them as well, `mine` are
        by source the partitions that this one reads. `unchanged` is called before an epoch ends,
        and raises where one of them has been made anew.
        """
        super().__init__(topics)
        self._unchanged, self._mine = unchanged, mine
        self._config, self._topics, self._group = config, topics, group
        self._sources = dict(sources or {})
        self.identities = dict(identities or {})

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSinkPartition[KafkaItem, dict[str, Any]]:
        """Open a topic behind its recovered end."""
        identity = self.identities.get(for_part, "")
        partitions = self._topics[for_part]
        return _Topic(
            self._config,
            for_part,
            identity,
            partitions,
            self._group,
            self._sources,
            self._mine,
            self._unchanged,
            resume_state,
        )

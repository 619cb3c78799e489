"""Forwarding: records go on to a topic as they came, in order and each once.

A record of partition 3 goes to partition 3, so the order of a key's records stays, whoever has
partitioned them. As an idempotent producer keeps it too, the last record of a partition that is
there tells which ones are: a restart looks that up, and goes on behind it.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat, starmap
from typing import Any, Final, NamedTuple

import numpy as np
from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.connectors.kafka.brokers import brokers_of
from operators.connectors.kafka.client import (
    LOG,
    Config,
    end_offsets,
    first_offsets,
    headers_of,
    read_to_end,
)
from operators.connectors.kafka.faults import denied
from operators.connectors.kafka.outgoing import RECORD_HEADER
from operators.connectors.kafka.producer import TOO_LARGE, DeliveryError
from operators.connectors.named_sink import NamedSink
from operators.records.batches import RawBatch

STATE_VERSION: Final = 1
_FLUSH_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0
_FIRST_LOOK: Final = 100
_WIDER: Final = 20
_FULL_SECONDS: Final = 0.1
# Their arguments are made first: of so many the processor's cache still has them.
_AT_ONCE: Final = 2_000


class Forwarded(NamedTuple):
    """Which record a message is, and `made_of` which topic, as `topic_ids.identify` tells it."""

    topic: str
    partition: int
    offset: int
    made_of: str


def forwarded(message: Message) -> Forwarded | None:
    """Return which record a message is, None for one that was not forwarded."""
    try:
        place, _, made_of = headers_of(message)[RECORD_HEADER].decode().partition("@")
        topic, partition, offset = place.split("/")
        return Forwarded(topic, int(partition), int(offset), made_of)
    except (KeyError, ValueError):
        return None


class _Topic(StatefulSinkPartition[RawBatch, dict[str, Any]]):
    def __init__(
        self,
        sink: "KafkaForward",
        topic: str,
        partitions: Sequence[int],
        state: dict[str, Any] | None,
    ) -> None:
        self._topic, self._sink, self._partitions = topic, sink, partitions
        self._source, identity = sink.sources[topic]
        self._identity = identity
        self._last: dict[int, int] = {}
        if state is not None:
            self._last = {int(p): offset for p, offset in state["last"].items()}
        for partition, offset in self._there().items():
            self._last[partition] = max(offset, self._last.get(partition, -1))
        self._failed: KafkaError | None = None
        self._brokers = brokers_of(sink.config)
        own = {
            "enable.idempotence": True,
            "linger.ms": 1,
            # Nobody needs to hear of each that was delivered.
            "delivery.report.only.error": True,
            "on_delivery": self._refused,
            # It warns that there is the next one.
            "log_level": 3,
        }
        # None may be missing among those that are there: one that fails ends them all.
        gapless = {"enable.gapless.guarantee": True, "message.timeout.ms": 0}
        self._config: dict[str, Any] = {
            **own,
            **sink.config,
            **gapless,
            **self._brokers.callbacks(),
        }
        self._producer = Producer(self._config)

    def _there(self) -> dict[int, int]:
        """Return by partition the offset of the last record in the topic."""
        common = self._sink.config, self._topic, self._partitions, _START_SECONDS
        firsts, ends = first_offsets(*common), end_offsets(*common, self._sink.group)
        found: dict[int, int] = {}
        left, back = {p for p in ends if ends[p] > firsts[p]}, _FIRST_LOOK
        while left:
            starts = {p: max(firsts[p], ends[p] - back) for p in left}
            for message in read_to_end(
                self._sink.config,
                self._topic,
                starts,
                group=self._sink.group,
                isolation="read_uncommitted",
            ):
                offset = self._offset_of(message)
                if offset is not None:
                    partition = message.partition()
                    found[partition] = max(offset, found.get(partition, -1))
            # Others may have written behind it.
            left = {p for p, start in starts.items() if p not in found and start > firsts[p]}
            back *= _WIDER
        return found

    def _offset_of(self, message: Message) -> int | None:
        """Return the offset of the record that a message is; None for what is not ours."""
        found = forwarded(message)
        if found is None or found[:2] != (self._source, message.partition()):
            LOG.debug("a message in %s is not ours", self._topic)
            return None
        return found.offset if found.made_of == self._identity else None

    def write_batch(self, values: list[RawBatch]) -> None:
        for raw in values:
            partition = raw.progress.partition
            last = self._last.get(partition, -1)
            if not len(raw) or int(raw.offsets[-1]) <= last:
                continue
            self._send(raw, partition, last)
            self._last[partition] = int(raw.offsets[-1])
        self._check()

    def _send(self, raw: RawBatch, partition: int, last: int) -> None:
        begin = int(np.searchsorted(raw.offsets, last, "right"))
        for first in range(begin, len(raw), _AT_ONCE):
            self._produce(self._messages(raw, slice(first, first + _AT_ONCE), partition))

    def _messages(self, raw: RawBatch, rows: slice, partition: int) -> list[Any]:
        """Return what `produce` is given for each of some records, in its order."""
        place = f"{self._source}/{partition}/%d@{self._identity}".encode()
        ours = [[(RECORD_HEADER, place % offset)] for offset in raw.offsets[rows].tolist()]
        own = raw.headers[rows]
        if any(own):
            # Where names repeat, ours stand last.
            ours = [[*(each or ()), *mine] for each, mine in zip(own, ours, strict=True)]
        return list(
            zip(
                repeat(self._topic),
                raw.values[rows],
                raw.keys[rows],
                repeat(partition),
                repeat(None),
                repeat(None),
                # 0 is now, for a record that has no time.
                np.maximum(raw.timestamps[rows], 0).tolist(),
                ours,
            )
        )

    def _produce(self, messages: list[Any]) -> None:
        done: list[None] = []
        while len(done) < len(messages):
            try:
                # By place and from within C: half of what a message costs is to call for it. What
                # was taken before one for which there is no room stays in the list.
                done.extend(starmap(self._producer.produce, messages[len(done) :]))
            except BufferError:
                self._producer.poll(_FULL_SECONDS)
                self._check()
            except KafkaException as error:
                self._failed = error.args[0]
                self._check()

    def _refused(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed = self._failed or error

    def _check(self) -> None:
        self._producer.poll(0)
        if self._failed is None:
            return
        if self._failed.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise DeliveryError(denied(self._config, "WRITE", self._topic, ["WRITE"]))
        if self._failed.code() in TOO_LARGE:
            raise DeliveryError(
                f"topic {self._topic} does not take a record that topic {self._source} took, with "
                "where it came from in its headers: raise its max.message.bytes, and "
                "MILLSTREAM_KAFKA_MESSAGE_MAX_BYTES, by some 200"
            )
        raise DeliveryError(f"{self._topic}: records not delivered: {self._failed.str()}")

    def snapshot(self) -> dict[str, Any]:
        left = self._brokers.flush(self._producer, self._topic, _FLUSH_SECONDS)
        self._check()
        if left:
            raise DeliveryError(
                f"{self._topic}: {left} records not delivered: no answer in {_FLUSH_SECONDS:.0f} s"
            )
        return {"version": STATE_VERSION, "last": dict(self._last)}


class KafkaForward(NamedSink[RawBatch, dict[str, Any]]):
    """Sends `(topic, raw batch)` items on, each record as it came and exactly once.

    Key, value, headers, time and partition are the record's own; a header more says which record
    of which topic it is. They go out at once; the epoch's end flushes. A restart finds the last
    record that is there, also without the recovery store, and sends what is behind it. That holds
    as long as the topic keeps a partition's last record for longer than an outage without the
    store. Each topic belongs to one worker.
    """

    def __init__(
        self,
        config: Config,
        topics: Mapping[str, Sequence[int]],
        sources: Mapping[str, tuple[str, str]],
        group: str,
    ) -> None:
        """`topics` maps each topic to the partitions that records go to.

        `sources` maps it to what its records are of. That is the topic's name and identity. They
        are read as of a consumer `group`.
        """
        super().__init__(topics)
        self.config, self.sources, self.group = config, sources, group
        self._topics = topics

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSinkPartition[RawBatch, dict[str, Any]]:
        """Open a topic behind the last record that is there."""
        return _Topic(self, for_part, self._topics[for_part], resume_state)

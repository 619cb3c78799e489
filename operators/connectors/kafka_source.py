"""Kafka source: batches as large as what has arrived, offsets in the snapshot."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from operators import metrics
from operators.alignment import Alignment
from operators.batches import END_OF_INPUT, NO_WATERMARK, Progress, RawBatch
from operators.connectors import kafka
from operators.connectors.drain import Drain
from operators.connectors.kafka_records import raw_batch, time_reached

STATE_VERSION: Final = 1
_GIVE_UP_SECONDS: Final = 120.0
_DOUBT_SECONDS: Final = 2.0
_NEVER: Final = 2**62


class _Partition(StatefulSourcePartition[RawBatch, dict[str, Any]]):
    def __init__(
        self, source: "KafkaSource", partition: int, state: dict[str, Any] | None
    ) -> None:
        self._source = source
        self._partition = partition
        self._down_since: float | None = None
        self._client = kafka.consumer(
            {**source.config, "group.id": source.group},
            error_cb=self._on_error,
            on_commit=self._on_commit,
        )
        # The next offset to read; None until the broker has said where the beginning is.
        self._next: int | None = None if state is None else state["offset"]
        # Whether the broker has shown that it has the offset to go on from.
        self._place_known = self._next is None
        self._was_ended = state is not None and bool(state["ended"])
        if self._next is None:
            self._next = self._begin(new=state is None and source.resumes)
        begin = OFFSET_BEGINNING if self._next is None else self._next
        self._client.assign([TopicPartition(source.topic, partition, begin)])
        # The first batch after every snapshot goes to everyone, even if it is empty.
        self._announce = True
        self._committable: int | None = None
        self._unanswered = 0
        self._ended = False
        # From the first snapshot with it on, the states know at which watermark it joined.
        self._floor = NO_WATERMARK if state else source.floors.get(partition, NO_WATERMARK)
        self._idle = self._backlog = self._at_end = self._caught_up = False
        self._opened = self._last_record = time.monotonic()
        labels = (source.topic, str(partition))
        self._records = metrics.RECORDS.labels(*labels)
        self._lag = metrics.OFFSET_LAG.labels(*labels)

    def _on_error(self, error: KafkaError) -> None:
        kafka.LOG.warning("%s", error.str())
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()

    def _on_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        self._unanswered -= 1
        if error is not None:
            # Only lag tools read these offsets, so that is no reason to stop.
            kafka.LOG.warning("consumer-group offsets not committed: %s", error.str())

    def _begin(self, *, new: bool) -> int | None:
        """Return where a partition without an offset starts, None for its beginning.

        A number, so that the first snapshot has the place and a resume does not ask again.
        """
        source = self._source
        if new or source.start == "earliest":
            return None
        if isinstance(source.start, datetime):
            place = TopicPartition(source.topic, self._partition)
            place.offset = int(source.start.timestamp() * 1000)
            found = int(self._client.offsets_for_times([place], timeout=30)[0].offset)
            if found >= 0:
                return found
        ends = kafka.end_offsets(source.config, source.topic, [self._partition], timeout=30)
        return ends[self._partition]

    def _refuse(self, message: Message) -> None:
        error = message.error()
        name = f"{self._source.topic}/{self._partition}"
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise kafka.OffsetGoneError(
                f"{name}: offset {self._next} is not in the topic: retention has deleted it, or "
                "the topic was made anew. Records were not skipped. Restore the topic, or start "
                "with an empty recovery directory and tables to read what there is"
            )
        raise RuntimeError(f"{name}: {error.str()}")

    def next_batch(self) -> Iterable[RawBatch]:
        source = self._source
        if self._ended or source.drain.requested:
            raise StopIteration
        if self._committable is not None:
            place = TopicPartition(source.topic, self._partition, self._committable)
            self._client.commit(offsets=[place], asynchronous=True)
            self._unanswered += 1
            self._committable = None
        if source.alignment.held(self._partition):
            return self._wait()
        messages = self._client.consume(source.batch_size, 0)
        # Also where offsets follow that are no records, such as a transaction's marker.
        at_end = bool(messages) and messages[-1].error() is not None
        if at_end or any(map(Message.error, messages)):
            messages = self._without_events(messages)
        now = time.monotonic()
        if messages:
            self._refuse_after_end()
            self._place_known = True
            self._down_since = None
            self._last_record, was_idle, self._idle = now, self._idle, False
        else:
            self._check_brokers(now)
            self._check_place(now)
            was_idle = self._idle
            # Before its end was seen a partition is not silent but behind: what another run
            # has read of it would be judged anew, as of one that woke.
            self._idle = self._at_end and now - self._last_record > source.idle_timeout
            if at_end or self._idle != was_idle:
                source.alignment.observe(self._partition, None, backlog=False)
            if not (self._announce or self._ended or self._idle != was_idle):
                return []
        self._announce = False
        batch = self._batch(messages)
        if messages:
            backlog = self._backlog and not (at_end or self._ended)
            source.alignment.observe(
                self._partition, time_reached(batch.timestamps), backlog=backlog
            )
        return [batch]

    def next_awake(self) -> datetime | None:
        """Return when to read next: at once, or at a time that all partitions have in common."""
        every = self._source.read_every
        if not every or self._backlog:
            return None
        return datetime.fromtimestamp((time.time() // every + 1) * every, UTC)

    def _wait(self) -> list[RawBatch]:
        """Leave the records where they are, and say what is due without them."""
        # Held back is not silent: its records must not be judged by the others' watermark.
        self._last_record = time.monotonic()
        if not self._announce:
            return []
        self._announce = False
        return [self._batch([])]

    def _without_events(self, messages: list[Message]) -> list[Message]:
        """Return the records alone; an end of a bounded input ends it, other events raise."""
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() != KafkaError._PARTITION_EOF:
                self._refuse(message)
            # Behind the last record, where markers and aborted records follow it.
            self._next = max(message.offset(), self._next or 0)
            self._place_known = self._at_end = True
            self._ended = self._source.stop_at_end
        return [message for message in messages if message.error() is None]

    def _check_place(self, now: float) -> None:
        """Refuse a topic that ends before the offset to go on from, where a broker does not.

        Kafka says that such an offset is out of range; some brokers just send nothing, and
        go on from there when a new topic has grown that long.
        """
        if self._place_known or now - self._opened < _DOUBT_SECONDS:
            return
        place = TopicPartition(self._source.topic, self._partition)
        _, end = self._client.get_watermark_offsets(place, cached=True)
        if self._next is not None and 0 <= end < self._next:
            raise kafka.OffsetGoneError(
                f"{self._source.topic}/{self._partition} ends at {end}, but {self._next - 1} "
                "was read before: the topic was made anew. Start with an empty recovery directory "
                "and tables, or restore the topic"
            )

    def _refuse_after_end(self) -> None:
        if self._was_ended:
            raise kafka.EndedError(
                f"{self._source.topic}/{self._partition} has new records, but an earlier run with "
                "MILLSTREAM_STOP_AT_END took its end as the end of all event time and closed "
                "every window. Start with an empty recovery directory and tables"
            )

    def _check_brokers(self, now: float) -> None:
        if self._down_since is None or now - self._down_since < _GIVE_UP_SECONDS:
            return
        # No record says that the brokers are back on a quiet topic: ask.
        self._client.list_topics(self._source.topic, timeout=10)
        self._down_since = None

    def _batch(self, messages: list[Message]) -> RawBatch:
        source = self._source
        n = len(messages)
        if n:
            self._next = max(messages[-1].offset() + 1, self._next or 0)
            self._records.inc(n)
        following = self._next or 0
        _, high = self._client.get_watermark_offsets(
            TopicPartition(source.topic, self._partition), cached=True
        )
        self._backlog = high > following
        # Behind an open transaction the end that was seen is before the high watermark.
        self._caught_up = self._at_end and self._next is not None and following >= high
        if high >= 0:
            self._lag.set(max(high - following, 0))
        progress = Progress(
            source.topic,
            self._partition,
            len(source.partitions),
            following - 1,
            idle=self._idle,
            floor=self._floor,
            caught_up=self._caught_up,
        )
        if self._ended:
            progress = progress.at(END_OF_INPUT)
        return raw_batch(progress, messages)

    def snapshot(self) -> dict[str, Any]:
        self._announce = True
        self._committable = self._next
        ended = self._ended or self._was_ended
        return {"version": STATE_VERSION, "offset": self._next, "ended": ended}

    def close(self) -> None:
        self._source.alignment.forget(self._partition)
        if not self._unanswered:
            self._client.close()
            return
        # It waits for the answers to commits, without brokers for minutes. They are for lag
        # tools alone: the end of the flow does not wait for them.
        threading.Thread(target=self._client.close, daemon=True).start()


class KafkaSource(FixedPartitionedSource[RawBatch, dict[str, Any]]):
    """Reads a topic, one Bytewax partition per Kafka partition, as `RawBatch` items.

    Offsets live in the recovery store; those committed to the consumer group `group` are for
    lag tools only and follow each durable epoch. A batch holds what has arrived since the
    last call, up to `batch_size` records. `start` is where the flow begins. If it `resumes`
    from a recovery store that knows the topic, a partition without state was added since, and
    is read from its beginning: its first records came while the flow was at work. It joins at
    its watermark of `floors`, in µs. With `stop_at_end` the input is bounded: it ends at each
    partition's end. `idle_timeout` and `alignment` are in seconds; no partition is idle before
    its end was seen since the start.

    With `read_every`, in seconds, a partition that is read to its end is read again at the next
    multiple of it, in fewer and larger batches.

    A partition waits while the Kafka timestamp of its last record is more than `alignment`
    ahead of that of another partition of this process with more to read; 0 never waits. A
    record's own time is not known before it is decoded, so a replay of skewed partitions is
    held together as far as its Kafka timestamps follow event time.
    """

    def __init__(
        self,
        config: kafka.Config,
        topic: str,
        partitions: Sequence[int],
        *,
        start: str | datetime = "earliest",
        resumes: bool = False,
        floors: Mapping[int, int] | None = None,
        batch_size: int = 20_000,
        idle_timeout: float = 60.0,
        alignment: float = 3600.0,
        read_every: float = 0.0,
        stop_at_end: bool = False,
        group: str = "millstream",
        drain: Drain,
    ) -> None:
        self.config, self.topic, self.partitions = config, topic, tuple(partitions)
        self.start, self.resumes, self.floors = start, resumes, dict(floors or {})
        self.batch_size, self.idle_timeout = batch_size, idle_timeout
        self.read_every = 0.0 if stop_at_end else read_every
        self.stop_at_end, self.group, self.drain = stop_at_end, group, drain
        self.alignment = Alignment(int(alignment * 1e6) if alignment else _NEVER)

    def list_parts(self) -> list[str]:
        """Return a name per Kafka partition; they are the keys of the recovery state."""
        return [f"{self.topic}/{partition}" for partition in self.partitions]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSourcePartition[RawBatch, dict[str, Any]]:
        """Open one partition at its recovered offset, or where the source starts.

        Raises KafkaUnavailableError or KafkaException if the brokers do not say where that is.
        """
        return _Partition(self, int(for_part.rpartition("/")[2]), resume_state)

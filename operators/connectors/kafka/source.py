"""Kafka source: batches as large as what has arrived, offsets in the snapshot."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import KafkaError, Message

from operators import shown
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.bounded import NEVER, Bounded
from operators.connectors.kafka.group_offsets import GroupOffsets
from operators.connectors.kafka.pace import next_look
from operators.connectors.kafka.places import Places
from operators.connectors.kafka.reached import Closed, Reached
from operators.connectors.kafka.reader import Readers
from operators.connectors.kafka.records import Records, time_reached
from operators.connectors.kafka.refusals import behind_the_end, out_of_range, shorter
from operators.connectors.shutdown import Shutdown
from operators.event_time.alignment import Alignment
from operators.event_time.watermarks import ended
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress, RawBatch
from operators.records.breaker import Breaker

STATE_VERSION: Final = 1
_DOUBT_SECONDS: Final = 2.0


class _Partition(StatefulSourcePartition[RawBatch, dict[str, Any]]):
    def __init__(
        self, source: "KafkaSource", partition: int, state: dict[str, Any] | None
    ) -> None:
        self._source = source
        self._partition = partition
        self._name = f"{source.topic}/{partition}"
        # The next offset to read; None until the broker has said where the beginning is.
        self._next: int | None = None if state is None else state["offset"]
        # Whether the broker has shown that it has the offset to go on from.
        self._place_known = self._next is None
        self._was_ended = state is not None and bool(state["ended"])
        if self._next is None and (state is not None or not source.resumes):
            # A number, so that the first snapshot has the place and a resume does not ask again.
            self._next = source.places.begin(partition)
        self._reader = source.readers.of(partition)
        self._reader.join(partition, self._next)
        # The first batch after every snapshot goes to everyone, even if it is empty.
        self._announce = True
        self._snapshot_taken = False
        ending = partial(Bounded, source.shutdown, self._name, source.places.bound(partition))
        self._run = ending(closes_windows=source.close_windows, patience=source.idle_timeout)
        # From the first snapshot with it on, the states know at which watermark it joined.
        self._floor = NO_WATERMARK if state else source.floors.get(partition, NO_WATERMARK)
        self._closed = Closed(state, source.reached.get(partition, ()))
        # Where the broker last said that there is no more to read now.
        self._end: int | None = None
        self._silent = self._backlog = self._took = False
        self._opened = self._last_record = time.monotonic()
        self._shown = shown.PartitionRead(source.topic, str(partition))

    def _refuse(self, message: Message) -> None:
        error = message.error()
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise out_of_range(self._name, self._next)
        raise kafka.failure(self._source.config, self._source.topic, error)

    def next_batch(self) -> Iterable[RawBatch]:
        source = self._source
        if self._run.over:
            # At once: what waits for it holds the others of its reader up.
            self._reader.leave(self._partition)
            raise StopIteration
        if self._snapshot_taken:
            # Bytewax has come back after a snapshot, so that is durable.
            source.group_offsets.durable(self._partition)
            self._snapshot_taken = False
        source.group_offsets.send()
        if self._run.reached:
            return self._rest()
        mine, breaker, until = self._partition, source.breaker, self._closed.until
        position = max(self._next or 0, self._reader.first(mine))
        if until is not None and position > until:
            self._closed.pass_on(position)
        held = source.alignment.held(mine) or breaker.holds(mine)
        if held or self._closed.waits or source.readers.early(mine):
            return self._wait()
        records, events, at_end = self._reader.take(
            mine, breaker.most(mine), self._closed.until
        )
        self._took = bool(records)
        breaker.took(mine, len(records))
        self._heed(events)
        now = time.monotonic()
        if records:
            self._refuse_after_end()
            self._place_known = True
            self._last_record, self._silent = now, False
        else:
            self._reader.check_brokers()
            self._check_place(now)
            if at_end or self._falls_silent(now):
                source.alignment.observe(self._partition, None, backlog=False)
            if not (self._announce or self._run.reached):
                return []
        self._announce = False
        batch = self._batch(records)
        if records:
            backlog = self._backlog and not (at_end or self._run.reached)
            source.alignment.observe(
                self._partition, time_reached(batch.timestamps), backlog=backlog
            )
        return [batch]

    def next_awake(self) -> datetime | None:
        """Return when to read next: at once, or at a time that all partitions have in common."""
        every = self._source.read_every
        at_once = self._backlog or (self._took and not every)
        return next_look(every, ended=self._run.reached, at_once=at_once)

    def _wait(self) -> list[RawBatch]:
        """Leave the records where they are, and say what is due without them."""
        self._reader.hold(self._partition)
        # Held back is not silent.
        self._last_record = time.monotonic()
        if not self._announce:
            return []
        self._announce = False
        return [self._batch(Records())]

    def _rest(self) -> list[RawBatch]:
        """Say at the end of a bounded run, in every epoch, whether more has come."""
        if self._run.more:
            self._reader.hold(self._partition)
        else:
            # They are for the next run.
            self._run.more = bool(self._reader.take(self._partition).records)
        if not self._announce:
            return []
        self._announce = False
        self._run.speak()
        return [self._batch(Records())]

    def _falls_silent(self, now: float) -> bool:
        """Tell whether nothing has come for the timeout since it was at its end, once."""
        was, quiet = self._silent, now - self._last_record > self._source.idle_timeout
        self._silent = quiet and self._end is not None
        return self._silent and not was

    def _heed(self, events: Iterable[Message]) -> None:
        """Take note of where the topic ends; other events raise."""
        for event in events:
            error = event.error()
            if kafka.of_group(error):
                continue
            if error.code() != KafkaError._PARTITION_EOF:
                self._refuse(event)
            # Behind the last record, where markers and aborted records follow it.
            self._end = self._next = max(event.offset(), self._next or 0)
            self._place_known = True
            self._run.read(self._next, to_the_end=True)

    def _check_place(self, now: float) -> None:
        """Refuse a topic that ends before the offset to go on from, where a broker does not.

        Kafka says that such an offset is out of range; some brokers just send nothing, and
        go on from there when a new topic has grown that long.
        """
        if self._place_known or now - self._opened < _DOUBT_SECONDS:
            return
        _, end = self._reader.watermarks(self._partition)
        if self._next is not None and 0 <= end < self._next:
            raise shorter(self._name, end, self._next)

    def _refuse_after_end(self) -> None:
        if self._was_ended or ended(self._closed.now):
            raise behind_the_end(self._name)

    def _batch(self, records: Records) -> RawBatch:
        source = self._source
        if records:
            self._next = max(int(records.offsets[-1]) + 1, self._next or 0)
            self._shown.took(records.values)
            self._run.read(self._next)
            if self._run.reached:
                self._end = self._next
        following = self._next or 0
        first, high = self._reader.watermarks(self._partition)
        # Before an open transaction there is an end, though the high watermark is behind it.
        self._backlog = high > following and following != self._end
        behind = max(high - max(following, first), 0)
        self._shown.stands(following, behind if high >= 0 else None)
        progress = Progress(
            source.topic,
            self._partition,
            len(source.partitions),
            following - 1,
            floor=self._floor,
            closed=self._closed.now,
            # Before its end was seen it may be behind what another run has read of it.
            caught_up=self._end is not None and following >= high and not self._run.more,
            behind=behind,
            blocked=behind > 0 and following == self._end and not self._run.reached,
        )
        if self._run.closed:
            progress = progress.at(END_OF_INPUT)
        self._closed.spoke()
        return records.batch(progress)

    def snapshot(self) -> dict[str, Any]:
        self._announce = self._snapshot_taken = True
        self._source.group_offsets.reached(self._partition, self._next)
        self._run.snapshot()
        over = self._was_ended or self._run.closed
        state = {"version": STATE_VERSION, "offset": self._next, "ended": over}
        return state | self._closed.snapshot()

    def close(self) -> None:
        self._source.alignment.forget(self._partition)
        self._run.leave()
        self._reader.leave(self._partition)


class KafkaSource(FixedPartitionedSource[RawBatch, dict[str, Any]]):
    """Reads a topic, one Bytewax partition per Kafka partition, as `RawBatch` items.

    Offsets live in the recovery store; those committed to the consumer group `group` are for
    lag tools only and follow each durable epoch. A batch holds what has arrived since the
    last call, up to `batch_size` records. `start` is where the flow begins. If it `resumes`
    from a recovery store that knows the topic, a partition without state was added since, and
    is read from its beginning: its first records came while the flow was at work. It joins at
    its watermark of `floors`, in µs. What had closed stays closed behind what tables have
    `reached`. With `stop_at_end` each partition is read to where it ends
    as the flow starts, and then all of the process end as they do when they are told to; until
    then those at their ends say whether more has come: see `Bounded`. With `close_windows` as well
    that is the end of all event time: every window closes, and no later run takes another record.

    With `read_every`, in seconds, a partition at its end is read again at the next multiple of it,
    in fewer and larger batches; without it where nothing came after 2 ms at the most.

    A partition waits while the Kafka timestamp of its last record is more than `alignment`
    ahead of that of another partition of this process with more to read, unless nothing has
    come of that one for `idle_timeout`; both are in seconds, and an alignment of 0 never waits.
    A record's own time is not known before it is decoded, so a replay of skewed partitions is
    held together as far as its Kafka timestamps follow event time. One that the `breaker` has
    paused waits too.
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
        reached: Mapping[int, Sequence[Reached]] | None = None,
        batch_size: int = 20_000,
        idle_timeout: float = 60.0,
        alignment: float = 3600.0,
        read_every: float = 0.0,
        stop_at_end: bool = False,
        close_windows: bool = False,
        group: str = "millstream",
        breaker: Breaker | None = None,
        shutdown: Shutdown,
    ) -> None:
        self.config, self.topic, self.partitions = config, topic, tuple(partitions)
        self.resumes, self.floors = resumes, dict(floors or {})
        self.reached = dict(reached or {})
        self.batch_size, self.idle_timeout = batch_size, idle_timeout
        self.read_every = 0.0 if stop_at_end else read_every
        self.close_windows, self.group, self.shutdown = close_windows, group, shutdown
        self.breaker = breaker or Breaker(1.0)
        self.alignment = Alignment(int(alignment * 1e6) if alignment else NEVER)
        self.group_offsets = GroupOffsets(config, topic, group)
        self.readers = Readers(config, topic, group, batch_size)
        self.places = Places(config, topic, self.partitions, group, start, bounded=stop_at_end)

    def list_parts(self) -> list[str]:
        """Return a name per Kafka partition; they are the keys of the recovery state."""
        return [f"{self.topic}/{partition}" for partition in self.partitions]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSourcePartition[RawBatch, dict[str, Any]]:
        """Open one partition at its recovered offset, or where the source starts.

        Raises KafkaUnavailableError or KafkaException if the brokers do not say where that is.
        """
        return self.open(int(for_part.rpartition("/")[2]), resume_state)

    def open(
        self, partition: int, state: dict[str, Any] | None
    ) -> StatefulSourcePartition[Any, dict[str, Any]]:
        """Open one partition as `build_part` does."""
        return _Partition(self, partition, state)

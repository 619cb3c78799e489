"""Kafka reader: one consumer for many of the partitions that a worker reads."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.records import Records

READERS: Final = 4
"""The most readers of a worker, each with a consumer of its own.

A consumer has one request at a broker at a time, and brings one partition after the other: with
all of them on one, steps were given a third of the records at once, for 1.4 times the CPU time.
"""

_SETTLE_SECONDS: Final = 2.0
# Messages are made columns of while the processor's cache still has them, and the next ones
# take their memory: with all that is given at once made first it took 1.6 times the CPU time.
_AT_ONCE: Final = 2_000


class Taken(NamedTuple):
    """What has come of a partition; `ends` says that the last of it is an event."""

    records: Records
    events: Sequence[Message]
    ends: bool


class _Buffer:
    """What has been consumed of a partition and was not taken yet: its records and events."""

    __slots__ = ("held", "n", "paused", "place", "runs")

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.runs: deque[Records | Message] = deque()
        self.n = 0
        self.held = self.paused = False

    def keep(self, run: list[Message]) -> None:
        """Take up messages, in their order."""
        self.n += len(run)
        if not any(map(Message.error, run)):
            self.runs.append(Records.of(run))
            return
        for is_event, some in groupby(run, lambda each: each.error() is not None):
            if is_event:
                self.runs.extend(some)
            else:
                self.runs.append(Records.of(list(some)))

    @property
    def first(self) -> int:
        """The offset of what comes first, if it is a record, else -1."""
        run = self.runs[0] if self.runs else None
        return int(run.offsets[0]) if isinstance(run, Records) else -1

    def take(self, most: int, until: int | None = None) -> Taken:
        """Return the first of what is kept, at most so many, none behind an offset."""
        runs, records, events, ends = self.runs, [], [], False
        left = most
        while runs and left and (until is None or self.first <= until):
            run = runs.popleft()
            ends = isinstance(run, Message)
            if isinstance(run, Message):
                events.append(run)
                left -= 1
                continue
            size = left
            if until is not None:
                size = min(size, int(np.searchsorted(run.offsets, until, "right")))
            if len(run) > size:
                runs.appendleft(run.part(slice(size, None)))
                run = run.part(slice(size))
            records.append(run)
            left -= len(run)
        self.n -= most - left
        return Taken(Records.joined(records), events, ends)


class Reader:
    """Consumes for a worker's partitions of a topic, and gives each its own messages.

    A consumer costs threads, sockets and a queue, so a worker has few. What it brings is of all
    partitions in turn: others' messages wait here until they are taken. With `size` messages
    waiting no more are consumed, so memory is bounded by a few times that and by the consumer's
    own queue. A partition that is held back is no reason to stop the others: it is paused once
    so much waits for those that are held.

    Not for several threads.
    """

    def __init__(self, config: kafka.Config, topic: str, group: str, size: int) -> None:
        """`size` is the most messages to give at once."""
        self._topic, self._size = topic, size
        self._config, self._brokers = config, kafka.brokers_of(config)
        self._client = kafka.consumer(config, group)
        self._buffers: dict[int, _Buffer] = {}
        self._joining: list[TopicPartition] = []
        self._unheard: set[int] = set()
        self._joined = 0.0
        # Messages waiting: of partitions that are read, and of those held back.
        self._waiting = self._kept = 0
        # Whether there ever were several partitions; what one alone has need not be told apart.
        self._shared = self.closed = False

    def join(self, partition: int, offset: int | None) -> None:
        """Read a partition from an offset on, from its beginning if that is None."""
        begin = OFFSET_BEGINNING if offset is None else offset
        place = TopicPartition(self._topic, partition, begin)
        self._buffers[partition] = _Buffer(place)
        self._shared = self._shared or len(self._buffers) > 1
        self._joining.append(place)
        self._unheard.add(partition)

    def leave(self, partition: int) -> None:
        """Read a partition no longer; the last one closes the consumer."""
        buffer = self._buffers.pop(partition, None)
        if buffer is None:
            return
        self._unheard.discard(partition)
        self._count(buffer, -buffer.n)
        if not self._buffers:
            self._client.close()
            self.closed = True
        elif buffer.place in self._joining:
            self._joining.remove(buffer.place)
        else:
            self._client.incremental_unassign([buffer.place])

    def _count(self, buffer: _Buffer, n: int) -> None:
        if buffer.held:
            self._kept += n
        else:
            self._waiting += n

    def first(self, partition: int) -> int:
        """Return the offset of the record that was consumed and comes next, -1 without one."""
        return self._buffers[partition].first

    def take(self, partition: int, most: int | None = None, until: int | None = None) -> Taken:
        """Return what has arrived of a partition, at most `size` records and events, or `most`.

        Nothing of it is behind the offset `until`, inclusive, if there is one.
        """
        buffer = self._buffers[partition]
        if buffer.held:
            self._hold(buffer, held=False)
        if self._waiting < self._size:
            self._consume()
        before = buffer.n
        found = buffer.take(min(self._size, most or self._size), until)
        self._waiting -= before - buffer.n
        return found

    def hold(self, partition: int) -> None:
        """Let a partition wait until it is taken from again."""
        buffer = self._buffers[partition]
        if not buffer.held:
            self._hold(buffer, held=True)
        if self._unheard and self._waiting < self._size:
            self._consume()

    def early(self, partition: int) -> bool:
        """Tell whether others were not heard of yet, at the start, while this one was.

        One answer of a broker may hold much of one partition before anything of the next, which
        would be read far ahead. It does not last: a partition may be out of reach.
        """
        if not self._unheard or partition in self._unheard:
            return False
        if self._joined and time.monotonic() - self._joined > _SETTLE_SECONDS:
            self._unheard.clear()
        return bool(self._unheard)

    def _hold(self, buffer: _Buffer, *, held: bool) -> None:
        self._count(buffer, -buffer.n)
        buffer.held = held
        self._count(buffer, buffer.n)
        if buffer.paused and not held:
            self._client.resume([buffer.place])
            buffer.paused = False

    def _consume(self) -> None:
        if self._joining:
            self._client.incremental_assign(self._joining)
            self._joining = []
            self._joined = time.monotonic()
        if self._kept >= self._size:
            self._pause()
        for left in range(self._size, 0, -_AT_ONCE):
            messages = self._client.consume(min(left, _AT_ONCE), 0)
            if messages:
                self._brokers.answered()
                self._keep(messages)
            if len(messages) < _AT_ONCE:
                return

    def _keep(self, messages: list[Message]) -> None:
        if not self._shared:
            self._unheard.clear()
            self._keep_of(next(iter(self._buffers.values())), messages)
            return
        for partition, run in groupby(messages, Message.partition):
            buffer = self._buffers.get(partition)
            if buffer is not None:
                self._unheard.discard(partition)
                self._keep_of(buffer, list(run))
            elif partition is None:
                self._refuse(list(run))
            # Else of one that has left.

    def _keep_of(self, buffer: _Buffer, run: list[Message]) -> None:
        buffer.keep(run)
        self._count(buffer, len(run))

    def _refuse(self, events: list[Message]) -> None:
        """Raise what concerns no partition, unless it is the group: nobody needs that to read."""
        for event in events:
            if not kafka.of_group(event.error()):
                raise kafka.failure(self._config, self._topic, event.error())

    def _pause(self) -> None:
        buffers = [each for each in self._buffers.values() if each.held and not each.paused]
        if buffers:
            # What the consumer has of them in its queue it drops, and brings again later.
            self._client.pause([each.place for each in buffers])
        for each in buffers:
            each.paused = True

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Return a partition's first offset and its high watermark, negative where unknown.

        As the last answer of its broker had them.
        """
        low, high = self._client.get_watermark_offsets(
            self._buffers[partition].place, cached=True
        )
        return low, high

    def check_brokers(self) -> None:
        """See whether brokers that seem gone are back: on a quiet topic no record says so.

        Raises KafkaUnavailableError when they have been away for too long.
        """
        self._brokers.bear(self._client, self._topic, time.monotonic())


class Readers:
    """The readers of a source: of each worker, which is a thread, a few of its own."""

    def __init__(self, config: kafka.Config, topic: str, group: str, size: int) -> None:
        """`size` is as of `Reader`."""
        self._make = partial(Reader, config, topic, group, size)
        # By worker; whichever partitions it has, they are dealt out to its readers in turn.
        self._readers: dict[int, dict[int, Reader]] = {}
        self._turns: dict[int, dict[int, int]] = {}

    def of(self, partition: int) -> Reader:
        """Return the reader of a partition of this worker."""
        worker = threading.get_ident()
        turns = self._turns.setdefault(worker, {})
        turn = turns.setdefault(partition, len(turns)) % READERS
        mine = self._readers.setdefault(worker, {})
        if turn not in mine or mine[turn].closed:
            mine[turn] = self._make()
        return mine[turn]

    def early(self, partition: int) -> bool:
        """Tell whether a partition waits for others of its worker, see `Reader.early`."""
        mine = self._readers.get(threading.get_ident(), {})
        return any(each.early(partition) for each in mine.values())

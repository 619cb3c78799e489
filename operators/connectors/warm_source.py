"""Warm source: what a table has of a topic's past first, then the topic.

The past is silver's, which makes state, or bronze's, which is read as the topic was.
"""

import logging
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

import polars as pl
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators import metrics
from operators.columns.times import in_micros
from operators.connectors.delta.table_history import TableHistory
from operators.connectors.delta.warming import Warming
from operators.connectors.kafka.reached import closed_at
from operators.connectors.kafka.source import STATE_VERSION, KafkaSource
from operators.connectors.kafka.unread import Unread
from operators.event_time.watermarks import ended
from operators.records.batches import NO_WATERMARK, Batch, Progress, RawBatch

LOG: Final = logging.getLogger("millstream.source")

Item: TypeAlias = RawBatch | Batch

_VERSION: Final = STATE_VERSION + 1
"""Of the state of a partition in its past: a release that knows none must not go on from it."""


class _Partition(StatefulSourcePartition[Item, dict[str, Any]]):
    """A partition's past, in two parts, and then the topic's.

    Each part begins in an epoch of its own. Steps that keep state take epochs one after the
    other, whatever way their items came, so no record gets before one of an earlier part.
    """

    def __init__(self, source: "WarmSource", partition: int, past: Mapping[str, int]) -> None:
        """`past` is as of the state: `at`, `sure`, `until` and `closed`."""
        self._source, self._partition = source, partition
        self._at, self._closed = past["at"], past["closed"]
        self._sure, self._until = min(past["sure"], past["until"]), past["until"]
        self._topic_part: StatefulSourcePartition[RawBatch, dict[str, Any]] | None = None
        self._rows = pl.DataFrame()
        self._past = self._at < self._sure
        self._announce, self._spoke, self._waits = True, False, False
        source.kafka.shutdown.begin(self._name)
        source.join(partition, self._at, self._until)

    @property
    def _name(self) -> str:
        return f"{self._source.kafka.topic}/{self._partition}"

    @property
    def _bound(self) -> int:
        """The last offset of the part that is under way."""
        return self._sure if self._past else self._until

    def next_batch(self) -> Iterable[Item]:
        if self._topic_part is not None:
            return self._topic_part.next_batch()
        kafka = self._source.kafka
        if kafka.shutdown.requested:
            raise StopIteration
        if not self._waits:
            if kafka.alignment.held(self._partition):
                return self._say(self._source.empty)
            rows = self._take()
            if rows.height:
                return self._tell(rows)
            if not self._spoke:
                # Nothing of this part is on its way in this epoch.
                return self._go_on()
            self._waits = True
            kafka.alignment.observe(self._partition, None, backlog=False)
        return self._say(self._source.empty)

    def _take(self) -> pl.DataFrame:
        """Return the next rows of the part, none at its end."""
        rows = self._rows
        if not rows.height:
            rows = self._source.take(self._partition)
        # Seldom more than one look: parts end once.
        here = rows.filter(pl.col("source_offset") <= self._bound) if rows.height else rows
        self._rows = rows[here.height :]
        return here

    def _tell(self, rows: pl.DataFrame) -> list[Item]:
        """Hand out rows."""
        self._at = int(rows["source_offset"][-1])
        kafka, times = self._source.kafka, rows["kafka_timestamp"]
        reached = None if times[-1] is None else int(in_micros(times[-1:])[0])
        kafka.alignment.observe(self._partition, reached, backlog=True)
        self._source.told(self._partition, rows.height)
        return self._say(rows)

    def _go_on(self) -> Iterable[Item]:
        """Begin the next part."""
        if self._past:
            self._past = False
            return self.next_batch()
        self._at = self._until
        self._source.done(self._partition)
        over = ended(self._closed)
        state = {"version": STATE_VERSION, "offset": self._until + 1, "ended": over}
        self._topic_part = self._source.behind(
            self._partition, state | {"closed": self._closed}
        )
        return self._topic_part.next_batch()

    def _say(self, rows: pl.DataFrame) -> list[Item]:
        """Return a batch of rows; an empty one where everyone is to hear of the epoch."""
        if not (rows.height or self._announce):
            return []
        self._announce = False
        # Whatever is on its way of this part, the next one begins in another epoch.
        self._spoke = True
        source = self._source
        progress = Progress(
            source.kafka.topic,
            self._partition,
            len(source.kafka.partitions),
            self._at,
            floor=source.kafka.floors.get(self._partition, NO_WATERMARK),
            behind=source.left(self._partition),
            past=self._past,
        )
        return [source.item(progress, rows)]

    def next_awake(self) -> datetime | None:
        """Return when to be asked next: at once, but for a topic that is read now and then."""
        return None if self._topic_part is None else self._topic_part.next_awake()

    def snapshot(self) -> dict[str, Any]:
        if self._topic_part is not None:
            return self._topic_part.snapshot()
        self._announce = True
        if self._waits:
            # The part's last rows are of an epoch that is over.
            self._at, self._past, self._waits = self._bound, False, False
        self._spoke = False
        return {
            "version": _VERSION,
            "offset": self._until + 1,
            "ended": False,
            "past": {
                "at": self._at,
                "sure": self._sure,
                "until": self._until,
                "closed": self._closed,
            },
        }

    def close(self) -> None:
        if self._topic_part is not None:
            self._topic_part.close()
            return
        kafka = self._source.kafka
        kafka.alignment.forget(self._partition)
        kafka.shutdown.end(self._name)


class WarmSource(FixedPartitionedSource[Item, dict[str, Any]]):
    """Reads a topic as `kafka` does, but first what a table has of the partitions' past.

    The past comes as `item` makes it of rows: unless stated, as batches that are decoded and told
    apart already, each row with its partition's `watermark` before it. A partition that has state
    goes on where that is; one that has none has a past, up to where `warming` says, if there is
    one. Of partitions with their `past_alone` nothing of the topic is read, in a bounded run.
    """

    def __init__(
        self,
        kafka: KafkaSource,
        history: TableHistory,
        warming: Warming | None,
        item: Callable[[Progress, pl.DataFrame], Item] = Batch,
        *,
        past_alone: Container[int] = (),
    ) -> None:
        self._past_alone = past_alone
        self.kafka, self._history, self._warming = kafka, history, warming
        self.item = item
        self.empty = history.empty
        self._left: dict[int, int] = {}
        self._told = 0
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[int, int]] = {}

    def list_parts(self) -> list[str]:
        """Return a name per Kafka partition; they are the keys of the recovery state."""
        return self.kafka.list_parts()

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSourcePartition[Item, dict[str, Any]]:
        """Open one partition where its recovered state or its past says, or as `kafka` does."""
        partition, plan = int(for_part.rpartition("/")[2]), self._warming
        if resume_state is not None and "past" in resume_state:
            return _Partition(self, partition, resume_state["past"])
        if resume_state is None and plan is not None and partition in plan.until:
            until = plan.until[partition]
            past = {
                "at": -1,
                "sure": plan.sure.get(partition, -1),
                "until": until,
                "closed": closed_at(self.kafka.reached.get(partition, ()), until + 1),
            }
            return _Partition(self, partition, past)
        return self.behind(partition, resume_state)

    def behind(
        self, partition: int, state: dict[str, Any] | None
    ) -> StatefulSourcePartition[Any, dict[str, Any]]:
        """Open what the topic has of a partition behind its past."""
        if state is not None and partition in self._past_alone:
            return Unread(self.kafka, partition, state)
        return self.kafka.open(partition, state)

    def join(self, partition: int, after: int, until: int) -> None:
        """Let a partition have its past, from behind an offset up to another."""
        self._asked[partition] = after, until

    def take(self, partition: int) -> pl.DataFrame:
        """Return the next rows of a partition's past."""
        with self._lock:
            if partition in self._asked:
                self._begin()
        return self._history.take(partition, self.kafka.batch_size)

    def _begin(self) -> None:
        """Begin with all partitions that have joined by now."""
        asked = {p: self._asked.pop(p) for p in list(self._asked)}
        found = self._history.begin(asked)
        LOG.info(
            "topic %s: %d rows of %s are read first, of partitions %s",
            self.kafka.topic, sum(found.values()), self._history.name,
            ", ".join(map(str, sorted(asked))),
        )  # fmt: skip
        for each in asked:
            self._left[each] = found.get(each, 0)
            metrics.HISTORY_LEFT.labels(self.kafka.topic, each).set(self._left[each])

    def left(self, partition: int) -> int:
        """Return how many rows of a partition's past are still to be told."""
        return self._left.get(partition, 0)

    def told(self, partition: int, rows: int) -> None:
        """Note rows that were told."""
        with self._lock:
            self._told += rows
        self._left[partition] -= rows
        metrics.HISTORY_ROWS.labels(self.kafka.topic, partition).inc(rows)
        metrics.HISTORY_LEFT.labels(self.kafka.topic, partition).set(self._left[partition])

    def done(self, partition: int) -> None:
        """Note that the topic is read from here on, and say so of this process's last one."""
        metrics.HISTORY_LEFT.labels(self.kafka.topic, partition).set(0)
        with self._lock:
            self._left.pop(partition, None)
            if self._left or self._asked:
                return
        LOG.info(
            "topic %s: %d rows of %s have been read, and what follows is read from the topic",
            self.kafka.topic, self._told, self._history.name,
        )  # fmt: skip

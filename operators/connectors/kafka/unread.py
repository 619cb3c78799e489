"""Unread: a partition of a bounded run of which nothing is read any more."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bytewax.inputs import StatefulSourcePartition

from operators.connectors.kafka.bounded import Bounded
from operators.connectors.kafka.pace import next_look
from operators.connectors.kafka.records import Records
from operators.connectors.kafka.source import KafkaSource
from operators.records.batches import NO_WATERMARK, Progress, RawBatch


class Unread(StatefulSourcePartition[RawBatch, dict[str, Any]]):
    """A partition at its end as the run begins, wherever the topic's is.

    It says in every epoch where it is, until all partitions of the process are at their ends, and
    ends with them as those of the source do. That it was read to where the topic ends it never
    says, so the others wait for its watermark as for one that has more to come.
    """

    def __init__(self, source: KafkaSource, partition: int, state: dict[str, Any]) -> None:
        """`state` is as of a partition of the source, with an offset in it."""
        self._source, self._partition, self._state = source, partition, state
        name, offset = f"{source.topic}/{partition}", state["offset"]
        self._run = Bounded(source.shutdown, name, offset, closes_windows=False)
        self._run.read(offset)
        source.alignment.forget(partition)
        self._announce = True

    def next_batch(self) -> Iterable[RawBatch]:
        """Return where it is, once an epoch."""
        if self._run.over:
            raise StopIteration
        if not self._announce:
            return []
        self._announce = False
        self._run.speak()
        progress = Progress(
            self._source.topic,
            self._partition,
            len(self._source.partitions),
            self._state["offset"] - 1,
            floor=self._source.floors.get(self._partition, NO_WATERMARK),
            closed=self._state.get("closed", NO_WATERMARK),
        )
        return [Records().batch(progress)]

    def next_awake(self) -> datetime | None:
        """Return when it is asked next: it has nothing to wait for but the others."""
        return next_look(0.0, ended=True, at_once=False)

    def snapshot(self) -> dict[str, Any]:
        """Return the state that it has come with."""
        self._announce = True
        self._run.snapshot()
        return self._state

    def close(self) -> None:
        """Be read no more."""
        self._run.leave()

"""Watched: a source and a sink whose partitions show that the engine comes to them."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators import metrics
from operators.connectors.observers import OBSERVERS
from operators.connectors.pulse import PULSE, Pulse

_Item = TypeVar("_Item")
_State = TypeVar("_State")


class _Source(StatefulSourcePartition[_Item, _State]):
    def __init__(
        self,
        part: StatefulSourcePartition[_Item, _State],
        name: str,
        pulse: Pulse,
        *,
        timed: bool,
    ) -> None:
        self._part, self._name, self._pulse, self._timed = part, name, pulse, timed
        self._snapshot_taken: float | None = None
        self._settled: float | None = None

    def next_batch(self) -> Iterable[_Item]:
        self._pulse.asked(self._name)
        if self._snapshot_taken is not None:
            # The engine has come back after a snapshot, so that is durable everywhere.
            self._pulse.settled = True
            if self._timed:
                now = time.monotonic()
                took = now - self._snapshot_taken
                metrics.EPOCH_END_SECONDS.observe(took)
                if self._settled is not None:
                    metrics.EPOCH_SECONDS.observe(now - self._settled)
                self._settled = now
                OBSERVERS.tell_settled(took)
            self._snapshot_taken = None
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> _State:
        self._snapshot_taken = time.monotonic()
        self._pulse.ends += 1
        return self._part.snapshot()

    def close(self) -> None:
        self._pulse.left(self._name)
        self._part.close()


class WatchedSource(FixedPartitionedSource[_Item, _State]):
    """Reads what `source` does, and notes in a pulse that it is asked to."""

    def __init__(
        self, source: FixedPartitionedSource[_Item, _State], pulse: Pulse = PULSE
    ) -> None:
        self._source, self._pulse = source, pulse
        # One partition of each process shows for how long epochs end.
        self._timed: str | None = None

    def list_parts(self) -> list[str]:
        """Return the source's partitions, for the engine that builds the flow."""
        self._pulse.met()
        return self._source.list_parts()

    def build_part(
        self, step_id: str, for_part: str, resume_state: _State | None
    ) -> StatefulSourcePartition[Any, _State]:
        """Open one of the source's partitions."""
        part = self._source.build_part(step_id, for_part, resume_state)
        self._timed = self._timed or for_part
        self._pulse.opened(for_part)
        return _Source(part, for_part, self._pulse, timed=for_part == self._timed)


class _Sink(StatefulSinkPartition[_Item, _State]):
    def __init__(
        self, part: StatefulSinkPartition[_Item, _State], name: str, pulse: Pulse
    ) -> None:
        self._part, self._name, self._pulse = part, name, pulse
        self._snapshot_taken = False

    def write_batch(self, values: list[_Item]) -> None:
        self._pulse.written(self._name)
        self._part.write_batch(values)

    def snapshot(self) -> _State:
        self._pulse.written(self._name)
        if self._snapshot_taken:
            # An epoch ends behind the one before, which is durable everywhere.
            self._pulse.settled = True
        self._snapshot_taken = True
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()


class WatchedSink(FixedPartitionedSink[_Item, _State]):
    """Writes as `sink` does, and notes in a pulse that it is given something."""

    def __init__(self, sink: FixedPartitionedSink[_Item, _State], pulse: Pulse = PULSE) -> None:
        self._sink, self._pulse = sink, pulse

    def list_parts(self) -> list[str]:
        """Return the sink's partitions, for the engine that builds the flow."""
        self._pulse.met()
        return self._sink.list_parts()

    def part_fn(self, item_key: str) -> int:
        """Return the place of the partition that a key belongs to."""
        return self._sink.part_fn(item_key)

    def build_part(
        self, step_id: str, for_part: str, resume_state: _State | None
    ) -> StatefulSinkPartition[Any, _State]:
        """Open one of the sink's partitions."""
        part = self._sink.build_part(step_id, for_part, resume_state)
        return _Sink(part, for_part, self._pulse)

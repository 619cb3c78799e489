"""Watched source: a source whose partitions show that the engine comes to them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.connectors.pulse import PULSE, Pulse

_Item = TypeVar("_Item")
_State = TypeVar("_State")


class _Partition(StatefulSourcePartition[_Item, _State]):
    def __init__(
        self, part: StatefulSourcePartition[_Item, _State], name: str, pulse: Pulse
    ) -> None:
        self._part, self._name, self._pulse = part, name, pulse
        self._snapshot_taken = False

    def next_batch(self) -> Iterable[_Item]:
        self._pulse.asked(self._name)
        if self._snapshot_taken:
            # The engine has come back after a snapshot, so that is durable everywhere.
            self._pulse.settled = True
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> _State:
        self._snapshot_taken = True
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

    def list_parts(self) -> list[str]:
        """Return the source's partitions."""
        return self._source.list_parts()

    def build_part(
        self, step_id: str, for_part: str, resume_state: _State | None
    ) -> StatefulSourcePartition[Any, _State]:
        """Open one of the source's partitions."""
        part = self._source.build_part(step_id, for_part, resume_state)
        return _Partition(part, for_part, self._pulse)

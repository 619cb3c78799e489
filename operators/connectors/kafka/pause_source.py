"""Pause source: the changes of a control topic by which rules have paused themselves, each once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.connectors.kafka.control_reader import ControlReader
from operators.connectors.shutdown import Shutdown
from operators.control.changes import Change
from operators.records.batches import Progress

STATE_VERSION: Final = 1
_EVERY: Final = timedelta(seconds=0.5)

Paused: TypeAlias = tuple[Progress, list[Change]]
"""How far the control topic was looked through, and what rules were paused by."""


class _Part(StatefulSourcePartition[Paused, dict[str, Any]]):
    def __init__(self, source: "PauseSource", state: dict[str, Any] | None) -> None:
        if state is not None and state["version"] != STATE_VERSION:
            raise ValueError(f"pauses of state version {state['version']}")
        self._source = source
        same = state is not None and state["topic"] == source.reader.identity
        self._next = int(state["next"]) if state is not None and same else 0
        self._announce, self._said = True, False

    def next_batch(self) -> Iterable[Paused]:
        source = self._source
        found = source.reader.pauses_from(self._next)
        if found:
            self._next = found[-1].offset + 1
        elif self._said and (source.stop_at_end or source.shutdown.requested):
            # Before it says anything: epochs may be shorter than it waits in between.
            raise StopIteration
        # In each epoch, so that the sink knows which of its messages cannot be made again.
        if found or self._announce:
            self._announce, self._said = False, True
            return [(Progress(source.reader.topic, 0, 1, self._next - 1), found)]
        return []

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + _EVERY

    def snapshot(self) -> dict[str, Any]:
        self._announce = True
        identity = self._source.reader.identity
        return {"version": STATE_VERSION, "topic": identity, "next": self._next}


class PauseSource(FixedPartitionedSource[Paused, dict[str, Any]]):
    """Emits pauses as a process' `reader` comes to know them, from the topic's beginning on.

    With `stop_at_end` it ends once those are out that are known.
    """

    def __init__(self, reader: ControlReader, *, stop_at_end: bool, shutdown: Shutdown) -> None:
        self.reader, self.stop_at_end, self.shutdown = reader, stop_at_end, shutdown

    def list_parts(self) -> list[str]:
        """Return the topic's one partition; no name of it is that of a partition of events."""
        return [f"{self.reader.topic}/pauses"]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> StatefulSourcePartition[Paused, dict[str, Any]]:
        """Go on behind what was emitted of this very topic."""
        return _Part(self, resume_state)

"""A kept state and what is durable of it, as its steps write it, without an engine."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from operators.state.snapshots import IncrementalSnapshots


@dataclass(frozen=True)
class End:
    """How an epoch ends: in which order it is written, and whether a resume comes of it."""

    resume: bool = False
    head_first: bool = True
    of_input: bool = False
    """At the end of the input Bytewax writes the state of every step that has one."""


NOTHING: Mapping[int, End] = MappingProxyType({})
epoch_ends = st.dictionaries(
    st.integers(0, 8),
    st.builds(End, st.booleans(), st.booleans(), st.sampled_from([False, False, False, True])),
)
"""Ends of epochs by the number of the batch that they come after."""


class Durable:
    """The state at work, with begin and end around what one activation brings."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make, self.kept = make, IncrementalSnapshots(make())
        self.head: dict[str, Any] | None = None
        self.entries: dict[int, dict[str, Any]] = {}
        self.written = 0
        """Bytes of the last epoch."""
        self._turn: int | None = None

    @property
    def state(self) -> Any:
        return self.kept.state

    def begin(self) -> None:
        part = self.kept.turn()
        self._turn = self._turn if part is None else part

    def end(self, how: End | None) -> None:
        """End an epoch; None: it goes on."""
        if how is None:
            return
        self.written = 0
        parts = {self._turn} - {None}
        if how.of_input:
            # In the order of their steps, which need not be that of their turns.
            parts |= set(self.entries)
        order = sorted(parts)
        written = {} if how.head_first else {part: self.entry(part) for part in order}
        self.head = self._write(self.kept.head())
        self.entries |= written or {part: self.entry(part) for part in order}
        self._turn = None
        if how.resume:
            self.resume()

    def entry(self, part: int) -> dict[str, Any]:
        return self._write(self.kept.entry(part))

    def _write(self, made: dict[str, Any]) -> Any:
        durable = pickle.dumps(made)
        self.written += len(durable)
        return pickle.loads(durable)

    def resume(self) -> None:
        """Start with what is durable, as after a crash."""
        self.kept, self._turn = IncrementalSnapshots(self.make(), self.head), None
        self.kept.resume(self.entries)

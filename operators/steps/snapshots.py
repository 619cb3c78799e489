"""Kept states: a step that works on a state, and steps that write its shards now and then.

Bytewax writes the state of a key anew in each epoch that touches it. So the step that works
gives only its head, and each shard has a step of its own, touched when its entry is due. All
have the same keys, which Bytewax puts on the same worker. A resume builds what it has loaded
before the first batch, in any order of steps; the shards' steps lay their entries down, and the
step that works picks them up when it is first asked for anything.

An entry is taken from the state at the end of its epoch. No batch of the next epoch can have
changed it by then, as with recovery no source emits before an epoch is written everywhere.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.metrics import observe_state
from operators.state.shards import SHARDS
from operators.state.snapshots import IncrementalSnapshots, State

V = TypeVar("V")
S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Turn:
    """Tells a shard's step that the shard is written in this epoch."""

    key: str
    shard: int


class KeyedStates(Generic[S]):
    """The states of a step by key, on all workers of this process."""

    def __init__(self, step: str, make: Callable[[], S]) -> None:
        """`step` names the states in the metrics, `make` makes an empty one."""
        self.step, self.make = step, make
        self.owners: dict[str, SnapshotLogic[Any, S]] = {}
        self.entries: dict[str, dict[int, dict[str, Any]]] = {}


class SnapshotLogic(StatefulBatchLogic[V, Any, dict[str, Any]], Generic[V, S]):
    """What works on the states of a `KeyedStates`."""

    def __init__(self, keeping: KeyedStates[S], head: dict[str, Any] | None) -> None:
        """`head` is what it had given for a snapshot."""
        self._keeping = keeping
        self._kept, self._complete = IncrementalSnapshots(keeping.make(), head), False
        self._key: str | None = None
        if head is not None:
            self._own(head["key"])

    def _own(self, key: str) -> None:
        self._key = key
        self._keeping.owners[key] = self

    @property
    def kept(self) -> IncrementalSnapshots[S]:
        """The state, complete."""
        if not self._complete:
            self._kept.resume(self._keeping.entries.pop(str(self._key), {}))
            self._complete = True
        return self._kept

    @abstractmethod
    def key(self, value: V) -> str:
        """Return the state key that a value has come with."""

    @abstractmethod
    def advance(self, state: S, values: list[V]) -> list[Any]:
        """Take values; return what goes downstream."""

    def on_batch(self, values: list[V]) -> tuple[list[Any], bool]:
        """Advance by the values, after the turn of a shard if it has come."""
        if self._key is None:
            self._own(self.key(values[0]))
        shard = self.kept.turn()
        items = self.advance(self.kept.state, values)
        if shard is not None:
            items.append(Turn(str(self._key), shard))
        return items, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        """Return the head for recovery, and show its size and how many rows there are."""
        head = self.kept.head() | {"key": self._key}
        observe_state(self._keeping.step, str(self._key), self.kept.state.rows, head)
        return head


class _ShardLogic(StatefulBatchLogic[Turn, Any, dict[str, Any]]):
    def __init__(
        self, keeping: KeyedStates[Any], shard: int, entry: dict[str, Any] | None
    ) -> None:
        self._keeping, self._shard, self._key = keeping, shard, ""
        if entry is not None:
            self._key = entry["key"]
            keeping.entries.setdefault(self._key, {})[shard] = entry

    def on_batch(self, values: list[Turn]) -> tuple[list[Any], bool]:
        self._key = values[0].key
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        kept = self._keeping.owners[self._key].kept
        entry = kept.entry(self._shard) | {"key": self._key}
        # The rows are the working step's.
        observe_state(f"{self._keeping.step}.kept", f"{self._key}/{self._shard}", 0, entry)
        return entry


@operator
def write_shards(
    step_id: str, worked: KeyedStream[Any], keeping: KeyedStates[Any]
) -> Stream[Any]:
    """Write the shards of the states that a `SnapshotLogic` works on; return its other items."""

    def is_turn(item: tuple[str, Any]) -> bool:
        return isinstance(item[1], Turn)

    def is_of(shard: int, item: tuple[str, Turn]) -> bool:
        return item[1].shard == shard

    turned = op.branch("turned", worked, is_turn)
    # The ids of these steps are those under which recovery stores have them.
    for shard in range(SHARDS):
        mine: Any = op.filter(f"turn_{shard}", turned.trues, partial(is_of, shard))
        op.stateful_batch(f"part_{shard}", mine, partial(_ShardLogic, keeping, shard))
    return op.key_rm("items", turned.falses)

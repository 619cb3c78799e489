"""Drives keyed operators as a worker would: batches to key groups, one after the other."""

import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import polars as pl

from operators.records.batches import Batch
from operators.state.shards import SHARDS
from operators.state.snapshots import State
from operators.steps.keyed import GroupLogic, route
from operators.steps.routing import Routed
from operators.steps.snapshots import KeyedStates, Turn

GROUPS: Final = 16

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Stream:
    """One side: how its records become keyed rows."""

    make: Callable[[pl.DataFrame], pl.DataFrame]
    side: int = 0


class Worker:
    """An operator's key groups in one process, without Bytewax."""

    def __init__(
        self,
        make: Callable[[], S],
        logic: Callable[[KeyedStates[S], None], GroupLogic[S]],
        streams: dict[str, Stream],
    ) -> None:
        """`make` and `logic` are as for `settle`, `streams` is by topic."""
        keeping = KeyedStates("benchmark", make)
        self._groups = [logic(keeping, None) for _ in range(GROUPS)]
        self._turns: list[Turn] = []
        self._streams = streams
        self.rows: list[pl.DataFrame] = []

    def take(self, batches: Iterable[Batch]) -> None:
        """Take one activation: batches of any topics."""
        slices: dict[str, list[Routed]] = {}
        by_topic: dict[str, list[Batch]] = {}
        for batch in batches:
            by_topic.setdefault(batch.progress.topic, []).append(batch)
        for topic, mine in by_topic.items():
            stream = self._streams[topic]
            for key, item in route(mine, stream.make, GROUPS, 0, stream.side):
                if isinstance(item, Routed):
                    slices.setdefault(key, []).append(item)
        for key, items in slices.items():
            found, _ = self._groups[int(key)].on_batch(items)
            for item in found:
                if isinstance(item, Turn):
                    self._turns.append(item)
                elif item[0]:
                    self.rows.append(item[1])

    def snapshot(self) -> tuple[float, int]:
        """Return the seconds and bytes of an epoch's snapshot, as Bytewax pickles it."""
        began = time.process_time()
        states = [group.snapshot() for group in self._groups]
        states += [self._groups[int(turn.key)].kept.entry(turn.shard) for turn in self._turns]
        self._turns.clear()
        size = sum(len(pickle.dumps(state)) for state in states)
        return time.process_time() - began, size

    def whole(self) -> int:
        """Return the bytes of all that there is, which then counts as written."""
        size = 0
        for group in self._groups:
            state = group.kept.state
            size += sum(len(pickle.dumps(state.shard(shard))) for shard in range(SHARDS))
            state.settle()
        return size


def rate(worker: Worker, warm: Iterable[list[Batch]], timed: Iterable[list[Batch]]) -> float:
    """Return the events per CPU-second of `timed`, once `warm` has filled the state."""
    for batches in warm:
        worker.take(batches)
    worker.rows.clear()
    events, spent = 0, 0.0
    for batches in timed:
        events += sum(map(len, batches))
        began = time.process_time()
        worker.take(batches)
        spent += time.process_time() - began
        worker.rows.clear()
    return events / spent


def figures(
    name: str, keys: int, worker: Worker, events: float, epochs: Iterable[list[Batch]]
) -> dict[str, Any]:
    """Return a bench's figures by name; `epochs` has an activation for each epoch to come."""
    size, snapshots = worker.whole(), []
    for batches in epochs:
        worker.take(batches)
        snapshots.append(worker.snapshot())
    seconds, written = (sum(each) / len(snapshots) for each in zip(*snapshots, strict=True))
    return {
        f"{name}, {keys:,} keys: events/CPU-s": events,
        f"{name}, {keys:,} keys: state MB": size / 1e6,
        f"{name}, {keys:,} keys: epoch MB": written / 1e6,
        f"{name}, {keys:,} keys: epoch s": seconds,
    }

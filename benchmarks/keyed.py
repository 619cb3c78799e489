"""Drives keyed operators as a worker would: batches to key groups, one after the other."""

import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from operators.batches import Batch
from operators.steps.keyed import GroupLogic, Slice, route

GROUPS: Final = 16


@dataclass(frozen=True)
class Stream:
    """One side: how its records become keyed rows."""

    make: Callable[[pl.DataFrame], pl.DataFrame]
    side: int = 0


class Worker:
    """An operator's key groups in one process, without Bytewax."""

    def __init__(self, build: Callable[[], GroupLogic], streams: dict[str, Stream]) -> None:
        """`streams` is by topic."""
        self._groups = [build() for _ in range(GROUPS)]
        self._streams = streams
        self.rows: list[pl.DataFrame] = []

    def take(self, batches: Iterable[Batch]) -> None:
        """Take one activation: batches of any topics."""
        slices: dict[str, list[Slice]] = {}
        by_topic: dict[str, list[Batch]] = {}
        for batch in batches:
            by_topic.setdefault(batch.progress.topic, []).append(batch)
        for topic, mine in by_topic.items():
            stream = self._streams[topic]
            for key, item in route(mine, stream.make, GROUPS, 0, stream.side):
                if isinstance(item, Slice):
                    slices.setdefault(key, []).append(item)
        for key, items in slices.items():
            found, _ = self._groups[int(key)].on_batch(items)
            self.rows += [frame for good, frame in found if good]

    def snapshot(self) -> tuple[float, int]:
        """Return the seconds and bytes of a snapshot of every group, as Bytewax pickles it."""
        began = time.process_time()
        size = sum(len(pickle.dumps(group.snapshot())) for group in self._groups)
        return time.process_time() - began, size


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


def figures(name: str, keys: int, worker: Worker, events: float) -> dict[str, Any]:
    """Return a bench's figures by name."""
    seconds, size = worker.snapshot()
    return {
        f"{name}, {keys:,} keys: events/CPU-s": events,
        f"{name}, {keys:,} keys: snapshot MB": size / 1e6,
        f"{name}, {keys:,} keys: snapshot s": seconds,
    }

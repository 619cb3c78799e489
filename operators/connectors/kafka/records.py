"""Kafka messages as columns of records."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from confluent_kafka import Message

from operators.columns.arrays import Int64s
from operators.records.batches import Headers, Progress, RawBatch

_NOT_UTF8: Final[Headers] = [("<header names that are not UTF-8>", None)]


def _none() -> Int64s:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Records:
    """A partition's records in offset order, by column, as `RawBatch` has them."""

    offsets: Int64s = field(default_factory=_none)
    timestamps: Int64s = field(default_factory=_none)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "Records":
        """Return what messages hold, none of them an event, at least one."""
        return cls(
            _offsets(messages),
            np.array([m.timestamp()[1] for m in messages], np.int64),
            list(map(Message.key, messages)),
            list(map(Message.value, messages)),
            headers_of(messages),
        )

    @classmethod
    def joined(cls, runs: Sequence["Records"]) -> "Records":
        """Return the records of all runs, one after the other."""
        if len(runs) == 1:
            return runs[0]
        if not runs:
            return cls()
        return cls(
            np.concatenate([run.offsets for run in runs]),
            np.concatenate([run.timestamps for run in runs]),
            [each for run in runs for each in run.keys],
            [each for run in runs for each in run.values],
            [each for run in runs for each in run.headers],
        )

    def part(self, rows: slice) -> "Records":
        """Return some of the records."""
        return Records(
            self.offsets[rows],
            self.timestamps[rows],
            self.keys[rows],
            self.values[rows],
            self.headers[rows],
        )

    def batch(self, progress: Progress) -> RawBatch:
        """Return the records with the progress that they make."""
        return RawBatch(
            progress, self.offsets, self.timestamps, self.keys, self.values, self.headers
        )


def _offsets(messages: Sequence[Message]) -> Int64s:
    first, last = messages[0].offset(), messages[-1].offset()
    # Offsets ascend, and only compaction and transactions leave gaps.
    if last - first == len(messages) - 1:
        return np.arange(first, last + 1)
    return np.array([m.offset() for m in messages], np.int64)


def headers_of(messages: Iterable[Message]) -> list[Headers | None]:
    """Return each message's headers; a header that stands for them all where a name is no UTF-8.

    Not to be asked of the messages themselves: of such a name their method makes an error and
    a list without its items, and who gets to see the list, by calling it from Python or a second
    time, crashes. Called by `map` it raises.
    """
    found: list[Headers | None] = []
    each = map(Message.headers, messages)
    while True:
        try:
            found.extend(each)
            return found
        except (UnicodeDecodeError, SystemError):
            found.append(_NOT_UTF8)


def time_reached(timestamps: Int64s) -> int | None:
    """Return how far in time, in µs, Kafka timestamps in ms have come; None without any.

    One from the future counts as now, so that a wrong clock holds its partition no longer than
    the others need to come to now.
    """
    last = int(timestamps[-1])
    return None if last < 0 else int(min(last * 1_000, time.time() * 1e6))

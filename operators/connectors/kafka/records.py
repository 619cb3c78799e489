"""Kafka messages as the columns of a raw batch."""

import time
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from confluent_kafka import Message

from operators.columns.arrays import Int64s
from operators.records.batches import Headers, Progress, RawBatch

_NOT_UTF8: Final[Headers] = [("<header names that are not UTF-8>", None)]


def raw_batch(progress: Progress, messages: Sequence[Message]) -> RawBatch:
    """Return records, none of them an event, with the progress that they make."""
    if not messages:
        return RawBatch(progress)
    return RawBatch(
        progress,
        _offsets(messages),
        np.array([m.timestamp()[1] for m in messages], np.int64),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        headers_of(messages),
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

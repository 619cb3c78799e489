"""Kafka messages as the columns of a raw batch."""

import time
from collections.abc import Sequence

import numpy as np
from confluent_kafka import Message

from operators.batches import Headers, Int64s, Progress, RawBatch


def raw_batch(progress: Progress, messages: Sequence[Message]) -> RawBatch:
    """Return records, none of them an event, with the progress that they make."""
    if not messages:
        return RawBatch(progress)
    try:
        headers: Sequence[Headers | None] = list(map(Message.headers, messages))
    except UnicodeDecodeError:
        headers = [_headers_of(m) for m in messages]
    return RawBatch(
        progress,
        _offsets(messages),
        np.array([m.timestamp()[1] for m in messages], np.int64),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        headers,
    )


def _offsets(messages: Sequence[Message]) -> Int64s:
    first, last = messages[0].offset(), messages[-1].offset()
    # Offsets ascend, and only compaction and transactions leave gaps.
    if last - first == len(messages) - 1:
        return np.arange(first, last + 1)
    return np.array([m.offset() for m in messages], np.int64)


def _headers_of(message: Message) -> Headers | None:
    try:
        found: Headers | None = message.headers()
        return found
    except UnicodeDecodeError:
        # A header's name may be any bytes; the record is still the sender's record.
        return [("<header names that are not UTF-8>", None)]


def time_reached(timestamps: Int64s) -> int | None:
    """Return how far in time, in µs, Kafka timestamps in ms have come; None without any.

    One from the future counts as now, so that a wrong clock holds its partition no longer than
    the others need to come to now.
    """
    last = int(timestamps[-1])
    return None if last < 0 else int(min(last * 1_000, time.time() * 1e6))

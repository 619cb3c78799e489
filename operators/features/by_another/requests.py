"""Requests: what key groups are told of events, and asked for them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s, UInt64s
from operators.columns.hashing import hash_columns
from operators.columns.times import in_micros
from operators.event_time.watermarks import Bounds
from operators.features.by_another.spec import MINUTE, Question
from operators.features.lanes import Conditions
from operators.records.batches import Batch
from operators.state.event_time_buffer import HASH, OFFSET, PARTITION, TIME_US

WOKEN: Final = "woken_at"
"""The column of the flow's watermark that an event's partition woke up to; see `KeyGroup`."""

EVENT: Final = "_event"
BASE: Final = "_base"
LAG: Final = "_lag"
MARK: Final = "_mark"
FRESH: Final = "_fresh"
ASKS: Final = "_asks"

ASKED: Final = (HASH, TIME_US, PARTITION, OFFSET, BASE, LAG, MARK)
"""What is kept of an event while it waits: TIME_US is when the answer is known."""


class Requests:
    """Makes of events what the key groups of each question get.

    An event asks as of its time, or of when Kafka had it if that is earlier: one from a clock that
    is ahead would have to wait for all others. The default lag is `bound` and a minute; it is µs.
    """

    def __init__(self, questions: Sequence[Question], bound: int | Bounds) -> None:
        self._questions = tuple(questions)
        self._bounds = bound if isinstance(bound, Bounds) else Bounds(bound)
        texts = {
            each.feature.where.strip()
            for question in questions
            for each in question.features
            if each.feature.where and not question.of_labels
        }
        self._conditions = Conditions(sorted(texts))

    @property
    def longest_lag(self) -> int:
        """The longest default lag that has ever counted, in µs."""
        return MINUTE + max([self._bounds.now, *(bound for bound, _ in self._bounds.before)])

    def _lags(self, frame: pl.DataFrame) -> Int64s:
        lags = np.full(frame.height, self._bounds.now + MINUTE)
        if self._bounds.before:
            partition, start = int(frame["source_partition"][0]), 0
            offsets = frame["source_offset"].to_numpy()
            for count, bound in self._bounds.of(partition, offsets):
                lags[start : start + count] = bound + MINUTE
                start += count
        return lags

    def make(self, batch: Batch) -> list[pl.DataFrame]:
        """Return keyed rows for each question, a row per event; empty for no events.

        Events need `watermark`; those that have WOKEN too are judged by it as they were before.
        Those of the past ask for nothing.
        """
        frame = batch.frame
        if frame.height == 0:
            return []
        times = in_micros(frame["event_time"])
        base = np.minimum(times, in_micros(frame["kafka_timestamp"], 2**62))
        marks = in_micros(frame["watermark"])
        fresh = WOKEN not in frame.columns
        if not fresh:
            marks = np.maximum(marks, in_micros(frame[WOKEN]))
        lags = self._lags(frame)
        common = [
            pl.Series(PARTITION, frame["source_partition"], pl.Int32()),
            pl.Series(OFFSET, frame["source_offset"], pl.Int64()),
            pl.Series(EVENT, times),
            pl.Series(BASE, base),
            pl.Series(LAG, lags),
            pl.Series(MARK, marks),
            pl.Series(FRESH, np.full(frame.height, fresh)),
            pl.Series(ASKS, np.full(frame.height, not batch.progress.past)),
        ]
        masks = self._conditions.masks(frame)
        found, hashes = [], dict[str, UInt64s]()
        for question in self._questions:
            due = np.max([*question.ends(base, lags).values()], axis=0)
            lanes = [
                pl.Series(lane.name, lane.numbers(frame, times, masks, hashes))
                for lane in ([] if question.of_labels else question.lanes)
            ]
            keys = [
                pl.Series(HASH, hash_columns(frame, question.by, hashes)),
                pl.Series(TIME_US, due),
            ]
            found.append(pl.DataFrame([*keys, *common, *lanes]))
        return found

"""Label rows: what key groups are told of labels."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import filtered
from operators.columns.hashing import hash_columns, hash_strings
from operators.columns.times import in_micros
from operators.features.by_another.requests import EVENT, MARK, WOKEN
from operators.features.by_another.spec import Question
from operators.features.lanes import Conditions
from operators.records.batches import Batch
from operators.state.event_time_buffer import HASH, OFFSET, PARTITION

LABELLED: Final = "_labelled"
"""The hash of the event that a label is of."""

_LONGEST: Final = 2**44
"""More offsets than a partition has."""


class LabelRows:
    """Makes of labels what the key groups of each question from labels get."""

    def __init__(self, questions: Sequence[Question], id_: str) -> None:
        """`id_` names the column of the events that labels are of."""
        self._questions, self._id = tuple(questions), id_
        texts = {
            each.feature.where.strip()
            for question in questions
            if question.of_labels
            for each in question.features
            if each.feature.where
        }
        self._conditions = Conditions(sorted(texts))

    def make(self, batch: Batch) -> dict[int, pl.DataFrame]:
        """Return rows by question, a row for each label that has its key.

        Labels need `watermark`, and WOKEN where they were judged; see `LabelJudge`.
        """
        frame = batch.frame
        if frame.height == 0:
            return {}
        times = in_micros(frame["event_time"])
        marks = in_micros(frame["watermark"])
        if WOKEN in frame.columns:
            marks = np.maximum(marks, in_micros(frame[WOKEN]))
        common = [
            pl.Series(PARTITION, frame["source_partition"], pl.Int32()),
            pl.Series(OFFSET, frame["source_offset"], pl.Int64()),
            pl.Series(EVENT, times),
            pl.Series(MARK, marks),
            pl.Series(LABELLED, hash_strings(frame[self._id])),
        ]
        masks = self._conditions.masks(frame)
        found = {}
        for number, question in enumerate(self._questions):
            if not question.of_labels:
                continue
            lanes = [
                pl.Series(lane.name, lane.numbers(frame, times, masks))
                for lane in question.lanes
            ]
            keys = pl.Series(HASH, hash_columns(frame, question.by))
            rows = pl.DataFrame([keys, *common, *lanes])
            there = np.ones(frame.height, bool)
            for name in question.by:
                there &= frame[name].is_not_null().to_numpy()
            found[number] = rows if there.all() else filtered(rows, pl.Series(there))
        return found


def places(rows: pl.DataFrame) -> Int64s:
    """Return numbers in the order of the rows' partitions and offsets, shape (n,)."""
    found: Int64s = rows[PARTITION].to_numpy().astype(np.int64) * _LONGEST
    found += rows[OFFSET].to_numpy()
    return found

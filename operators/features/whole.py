"""All features of a stream at once, without an engine: what is known of all its partitions."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from operators.columns.times import in_micros
from operators.event_time.watermarks import Bounds
from operators.features.by_another import (
    WOKEN,
    Answer,
    Assembly,
    KeyGroup,
    LabelRows,
    Requests,
)
from operators.features.declared import Features
from operators.features.partition import PartitionFeatures
from operators.records.batches import END_OF_INPUT, Batch, Progress
from operators.state.event_time_buffer import PARTITION

_LABELS: Final = "labels"
"""The topic that labels are of here; that of events has no name."""

Run = tuple[int, pl.DataFrame]
"""Consecutive events of a partition."""


class WholeFeatures:
    """Works out the features of partitions' events, as the flow does.

    What is given back are the runs that were given, in order within a partition, each when all is
    known of it. Where there are features by another key, partitions had better be given abreast:
    what is ahead of the others is held. So are those for which labels have to be known, where there
    are features from these.
    """

    def __init__(
        self,
        features: Features,
        bound: int | Bounds,
        partitions: int,
        columns: Mapping[str, pl.DataType],
    ) -> None:
        """`partitions` are as many as there are, `columns` what events have in the end.

        `bound` is the out-of-orderness in µs.
        """
        self._features, self._bound, self._columns = features, bound, columns
        self._partitions = partitions
        self._own: dict[int, PartitionFeatures] = {}
        self._requests = Requests(features.questions, bound)
        lag, labels = self._requests.longest_lag, features.labels
        self._group = KeyGroup(features.questions, lag, None if labels is None else _LABELS)
        self._label_rows = None if labels is None else LabelRows(features.questions, labels.key)
        self._label_partitions = 1
        self._held: dict[int, Assembly] = {}
        self._last: dict[int, int] = {}

    def advance(self, partition: int, rows: pl.DataFrame) -> list[Run]:
        """Take a partition's next events; return those of which all is known now."""
        own = self._own.get(partition)
        if own is None:
            own = self._own[partition] = self._features.make(self._bound)
        made = own.advance(rows)
        if not self._features.questions:
            return [(partition, made)]
        if rows.height:
            self._last[partition] = int(rows["source_offset"][-1])
        return self._observe(partition, made, own.watermark.current)

    @property
    def reads_labels(self) -> bool:
        """Whether there are features from labels."""
        return self._label_rows is not None

    def add_labels(self, partition: int, partitions: int, rows: pl.DataFrame) -> list[Run]:
        """Take the next labels of a partition of as many; return the events that waited for them.

        Rows have `watermark`, their partition's before each, and WOKEN if labels were judged by
        it. Whoever has all labels may give them before the first event, and say that they end.
        """
        if self._label_rows is None or not rows.height:
            return []
        self._label_partitions = partitions
        marks = in_micros(rows["watermark"])
        if WOKEN in rows.columns:
            marks = np.maximum(marks, in_micros(rows[WOKEN]))
        place, mark = int(rows["source_offset"][-1]), int(marks[-1])
        progress = Progress(_LABELS, partition, partitions, place, mark)
        made = self._label_rows.make(Batch(progress, rows))
        return self._answered(self._group.advance([progress], {}, made))

    def end_labels(self) -> list[Run]:
        """Return the events that waited for labels only: there are no more."""
        if self._label_rows is None:
            return []
        count = self._label_partitions
        ends = [Progress(_LABELS, n, count, watermark=END_OF_INPUT) for n in range(count)]
        return self._answered(self._group.advance(ends, {}))

    def end(self) -> list[Run]:
        """Return the events that were held: there are no more, nor labels."""
        if not self._features.questions:
            return []
        found = self.end_labels()
        for partition in list(self._own):
            found += self._observe(partition, pl.DataFrame(), END_OF_INPUT)
        return found

    def _observe(self, partition: int, made: pl.DataFrame, mark: int) -> list[Run]:
        place = self._last.get(partition, -1)
        batch = Batch(Progress("", partition, self._partitions, place, mark), made)
        held = self._held.get(partition)
        if held is None:
            held = self._held[partition] = Assembly(self._features.questions, self._columns)
        if made.height:
            held.add(batch)
        rows = dict(enumerate(self._requests.make(batch)))
        return self._answered(self._group.advance([batch.progress], rows))

    def _answered(self, answers: list[Answer]) -> list[Run]:
        for answer in answers:
            for (number,), mine in answer.rows.partition_by(PARTITION, as_dict=True).items():
                self._held[int(str(number))].add(Answer(answer.question, mine))
        return [
            (number, each.frame)
            for number, assembly in self._held.items()
            for each in assembly.release()
            if isinstance(each, Batch)
        ]

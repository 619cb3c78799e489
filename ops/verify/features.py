"""The features, worked out anew from silver in the order of each partition."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from flows.streams import Stream
from operators.columns.frames import alike
from operators.connectors.delta.table_history import TableHistory, in_order
from operators.event_time.watermarks import Bounds
from operators.features import WholeFeatures
from ops.labels_there import give, labels_there
from ops.verify.report import Check

_MOST: Final = 100_000
_PLACE: Final = ("source_partition", "source_offset")


class _Column:
    """What is known of a feature's values: those that differ, and the first of them.

    Up to the offsets `since`, by partition, values may be those of an earlier definition; None is
    for a feature that no row is made by yet. Where the table does not tell, `guess` that nulls in
    front of a partition's first value are older than the feature.
    """

    def __init__(self, name: str, since: Mapping[int, int] | None, *, guess: bool) -> None:
        self.name, self._since, self._guess = name, since, guess
        self.differences = self.older = 0
        self.example: dict[str, Any] | None = None
        # The partitions that have shown a value.
        self._begun: set[int] = set()

    def compare(self, partition: int, stored: pl.DataFrame, made: pl.Series) -> None:
        """Take a partition's next rows as they are stored, and the feature as it is made."""
        values = stored[self.name]
        wrong = ~alike(values, made.cast(values.dtype))
        if self._since is None or partition in self._since:
            older = np.ones(len(wrong), bool)
            if self._since is not None:
                older = stored["source_offset"].to_numpy() <= self._since[partition]
            self.older += int(np.count_nonzero(wrong & older))
            wrong = wrong & ~older
        if self._guess and partition not in self._begun:
            wrong = self._look_for_beginning(partition, values, wrong)
        at = np.flatnonzero(wrong)
        self.differences += len(at)
        if len(at) and self.example is None:
            row = int(at[0])
            self.example = {
                "feature": self.name,
                **{name: stored[name][row] for name in _PLACE},
                "stored": values[row],
                "made": made[row],
            }

    def _look_for_beginning(
        self, partition: int, values: pl.Series, wrong: np.ndarray[Any, np.dtype[np.bool_]]
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Leave out rows that are older than the feature: nulls in front of its first value."""
        there = values.is_not_null().to_numpy()
        first = int(there.argmax()) if there.any() else len(there)
        if first < len(there):
            self._begun.add(partition)
        self.older += int(np.count_nonzero(wrong[:first]))
        wrong = wrong.copy()
        wrong[:first] = False
        return wrong


def _made_anew(
    stream: Stream, root: str, topic: str, bound: int | Bounds, labels: str | None
) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
    """Yield partitions' rows as they are stored and as their features are made, in order."""
    name = stream.silver.name
    partitions = len(TableHistory(root, name, topic, stream.past).partitions())
    whole = WholeFeatures(stream.features, bound, partitions, stream.featured)
    if whole.reads_labels:
        give(labels_there(root, stream, labels) or [], whole)
    stored: dict[int, deque[pl.DataFrame]] = defaultdict(deque)
    for partition, found in in_order(root, name, topic, stream.columns, _MOST):
        stored[partition].append(found)
        for number, made in whole.advance(partition, found[list(stream.past)]):
            yield number, stored[number].popleft(), made
    for number, made in whole.end():
        yield number, stored[number].popleft(), made


def check_features(
    stream: Stream,
    root: str,
    topic: str,
    bound: int | Bounds,
    since: Mapping[str, Mapping[int, int] | None] | None = None,
    told: Callable[[str], None] = lambda _: None,
    labels: str | None = None,
) -> Check:
    """Compare every feature in silver with what the records before it make it.

    By the flow's own code, which tests hold to an oracle: a fault in it is in both.
    `bound` is the out-of-orderness in µs; the watermarks are those that silver has. `labels` is
    their topic, where there are features from these: they count from when their table says.

    A feature that was added later, or was another before, is left out in the rows up to the offsets
    by feature and partition in `since`, None for all: how many of its values would have been others
    counts as not compared. One that is not in `since`, as its table does not tell, is taken to have
    begun at a partition's first value.
    """
    told_since = since or {}
    columns = [
        _Column(name, told_since.get(name, {}), guess=name not in told_since)
        for name in stream.features.columns
    ]
    rows = 0
    for partition, found, made in _made_anew(stream, root, topic, bound, labels):
        for column in columns:
            column.compare(partition, found, made[column.name])
        rows += found.height
        told(f"working out the features of {stream.name} anew: {rows:,} rows")
    wrong = [each for each in columns if each.differences]
    return Check(
        f"{stream.silver.name}' features are what the {stream.record}s before make them",
        rows * len(columns),
        sum(each.differences for each in columns),
        [{**(each.example or {}), "differences": each.differences} for each in wrong],
        sum(each.older for each in columns),
        "of rows older than the feature as it is",
    )

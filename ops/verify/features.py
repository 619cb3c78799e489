"""The features, worked out anew from silver in the order of each partition."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl

from flows.streams import Stream
from operators.columns.frames import alike
from operators.connectors.delta.table_history import in_order
from ops.verify.report import Check

_MOST: Final = 100_000
_PLACE: Final = ("source_partition", "source_offset")


class _Column:
    """What is known of a feature's values: those that differ, and the first of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.differences = self.older = 0
        self.example: dict[str, Any] | None = None
        # The partitions that have shown a value.
        self._begun: set[int] = set()

    def compare(self, partition: int, stored: pl.DataFrame, made: pl.Series) -> None:
        """Take a partition's next rows as they are stored, and the feature as it is made."""
        values = stored[self.name]
        wrong = ~alike(values, made.cast(values.dtype))
        if partition not in self._begun:
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


def check_features(
    stream: Stream,
    root: str,
    topic: str,
    bound: int,
    told: Callable[[str], None] = lambda _: None,
) -> Check:
    """Compare every feature in silver with what the records before it make it.

    `bound` is the out-of-orderness in µs; the watermarks are those that silver has.

    A feature that was added later is null in the rows before, and so left out there: how many of
    its values would have been others counts as not compared.
    """
    columns = [_Column(name) for name in stream.features.columns]
    states: dict[int, Any] = {}
    rows = 0
    for partition, found in in_order(root, stream.silver.name, topic, stream.columns, _MOST):
        state = states.get(partition)
        if state is None:
            state = states[partition] = stream.features.make(bound)
        made = state.advance(found[list(stream.past)])
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
        "of rows older than the feature",
    )

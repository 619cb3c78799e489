"""Timers: when rows that were handed on will be asked for, and when they are needed no more."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from operators.columns.arrays import Int64s
from operators.columns.grouping import distinct


class Timers:
    """Times in µs, ascending, and how many rows are needed until when."""

    def __init__(self) -> None:
        self._times = self._last = self._counts = np.empty(0, np.int64)

    @property
    def next(self) -> int | None:
        """The next time at which something is due."""
        return int(self._times[0]) if len(self._times) else None

    @property
    def rows(self) -> int:
        """How many rows are still needed."""
        return int(self._counts.sum())

    def add(self, times: Int64s, last: Int64s, counts: Int64s) -> None:
        """Take times, shape (n,), and of m slices the last one each and its number of rows."""
        self._times = distinct(np.concatenate((self._times, times)))
        self._last = np.concatenate((self._last, last))
        self._counts = np.concatenate((self._counts, counts))

    def forget(self, watermark: int) -> None:
        """Drop what was due up to a watermark in µs."""
        self._times = self._times[np.searchsorted(self._times, watermark, "right") :]
        kept = self._last > watermark
        self._last, self._counts = self._last[kept], self._counts[kept]

    def dump(self) -> dict[str, bytes]:
        """Return the dues as builtins."""
        self._last, places = np.unique(self._last, return_inverse=True)
        self._counts = np.bincount(places, self._counts).astype(np.int64)
        return {
            "times": self._times.tobytes(),
            "last": self._last.tobytes(),
            "counts": self._counts.tobytes(),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Resume dumped dues."""
        dues = cls()
        dues._times = np.frombuffer(state["times"], np.int64)
        dues._last = np.frombuffer(state["last"], np.int64)
        dues._counts = np.frombuffer(state["counts"], np.int64)
        return dues

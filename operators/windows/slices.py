"""Slices: rows of open windows, reduced to accumulators as they become many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import in_one, stacked, taken
from operators.columns.ipc import from_ipc, to_ipc, types_to_ipc
from operators.windows.accumulators import Accumulators
from operators.windows.agg import Aggregate

_RAW_MIN: Final = 8_192
_RUNS_MAX: Final = 8

Frame: TypeAlias = pl.DataFrame | None
Wanted: TypeAlias = Callable[[Int64s], npt.NDArray[np.bool_]]


class Slices:
    """Rows, and the partials of those that share a key and marks, in a few runs.

    Rows are looked through when there are twice as many as the last time left, reduced or not.
    A run has a row per key and marks. Runs are merged into one when they hold twice what they
    held after the last time, so a partial is merged once or twice in its life, and the number
    of slices costs nothing.
    """

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate],
        by: Sequence[str],
        marks: Sequence[str],
        cut: str = "slice",
    ) -> None:
        """Keep partials by key and `marks`, Int64 columns; what is wanted is told by `cut`."""
        self._aggregates, self._by, self._marks, self._cut = aggregates, by, marks, cut
        self._raw: list[pl.DataFrame] = []
        self._raw_rows = 0
        self._raw_most = _RAW_MIN
        self.made: Accumulators | None = None
        """What has reduced rows, if any have been."""
        self._runs: list[pl.DataFrame] = []
        self._base = 0

    @property
    def rows(self) -> int:
        """How many rows and partials there are."""
        return self._raw_rows + self._partials

    @property
    def _partials(self) -> int:
        return sum(run.height for run in self._runs)

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All rows and partials, a key and its marks in any number of them."""
        return [*self._raw, *self._runs]

    def math(self, schema: Mapping[str, pl.DataType]) -> Accumulators:
        """Return what reduces rows of these types; raises InexactError."""
        if self.made is None:
            self.made = Accumulators(self._aggregates, schema, self._by)
        return self.made

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; they need the keys, HASH, the marks and the aggregates' columns."""
        self._raw.append(rows)
        self._raw_rows += rows.height
        if self._raw_rows > self._raw_most:
            self._reduce()

    def select(self, wanted: Wanted) -> tuple[Frame, Frame]:
        """Return the rows and the partials that `wanted` tells by their slices, or `cut`.

        A key and its marks may have several partials.
        """
        _, rows = self._split(self._raw, wanted)
        _, partials = self._split(self._runs, wanted)
        return _joined(rows), _joined(partials)

    def take(self, wanted: Wanted) -> tuple[Frame, Frame]:
        """Take out what `select` returns."""
        self._raw, rows = self._split(self._raw, wanted)
        self._raw_rows = sum(frame.height for frame in self._raw)
        self._runs, partials = self._split(self._runs, wanted)
        return _joined(rows), _joined(partials)

    def _split(
        self, frames: list[pl.DataFrame], wanted: Wanted
    ) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """Return what is not wanted, and what is."""
        rest, found = [], []
        for frame in frames:
            mask = wanted(frame[self._cut].to_numpy())
            if mask.all():
                found.append(frame)
            elif mask.any():
                found.append(taken(frame, np.flatnonzero(mask)))
                rest.append(taken(frame, np.flatnonzero(~mask)))
            else:
                rest.append(frame)
        return rest, found

    def _reduce(self) -> None:
        """Reduce the rows that share their key and marks to partials."""
        raw = stacked(self._raw)
        alone, run = self.math(raw.schema).reduce_shared(raw, self._marks)
        self._raw = [] if alone is None else [in_one([alone])]
        self._raw_rows = 0 if alone is None else alone.height
        left = max(self._raw_rows, 0 if run is None else run.height)
        self._raw_most = max(_RAW_MIN, 2 * left)
        if run is not None:
            self._runs.append(in_one([run]))
        if len(self._runs) > _RUNS_MAX or self._partials > 2 * self._base:
            self._merge_runs()

    def _merge_runs(self) -> None:
        if len(self._runs) > 1:
            rows = stacked(self._runs)
            self._runs = [in_one([self.math(rows.schema).merge(rows, self._marks)])]
        self._base = self._partials

    def dump(self) -> dict[str, bytes | None]:
        """Return everything as Arrow IPC, and a frame without rows for the types."""
        self._merge_runs()
        self._raw = [in_one(self._raw)] if self._raw else []
        return {
            "rows": to_ipc(*self._raw),
            "partials": to_ipc(*self._runs),
            "types": None if self.made is None else types_to_ipc(self.made.types),
        }

    def load(self, state: Mapping[str, bytes | None]) -> None:
        """Take up what was dumped."""
        rows = loaded(state["rows"])
        if rows is not None:
            self._raw, self._raw_rows = [rows], rows.height
        if state["types"] is None:
            return
        made = self.math(from_ipc(state["types"]).schema)
        partials = made.restored(loaded(state["partials"]))
        self._runs = [] if partials is None else [partials]
        self._base = self._partials

    def restored(self, partials: Frame) -> Frame:
        """Return partials that came out of `loaded` as they were."""
        return partials if self.made is None else self.made.restored(partials)


def _joined(frames: list[pl.DataFrame]) -> Frame:
    return stacked(frames) if frames else None


def loaded(state: bytes | None) -> Frame:
    """Return the frame of `to_ipc`."""
    return None if state is None else from_ipc(state)

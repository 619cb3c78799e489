"""Slices: rows of open windows, reduced to accumulators as they become many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.columns.frames import in_one, stacked
from operators.columns.ipc import from_ipc, types_to_ipc
from operators.windows.accumulators import Accumulators
from operators.windows.agg import Aggregate
from operators.windows.pieces import Frame, Pieces

_RAW_MIN: Final = 8_192
_RUNS_MAX: Final = 8

Wanted: TypeAlias = Callable[[Int64s], Bools]


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
        self._raw = Pieces()
        self._raw_most = _RAW_MIN
        self.made: Accumulators | None = None
        """What has reduced rows, if any have been."""
        self._runs = Pieces()
        self._base = 0

    @property
    def rows(self) -> int:
        """How many rows and partials there are."""
        return self._raw.height + self._runs.height

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All rows and partials, a key and its marks in any number of them."""
        return [*self._raw.frames, *self._runs.frames]

    def math(self, schema: Mapping[str, pl.DataType]) -> Accumulators:
        """Return what reduces rows of these types; raises InexactError."""
        if self.made is None:
            self.made = Accumulators(self._aggregates, schema, self._by)
        return self.made

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; they need the keys, HASH, the marks and the aggregates' columns."""
        self._raw.add(rows)
        if self._raw.height > self._raw_most:
            self._reduce()

    def ahead(self) -> None:
        """Encode rows that nobody is about to take, before an epoch's end."""
        self._raw.ahead()

    def select(self, wanted: Wanted) -> tuple[Frame, Frame]:
        """Return the rows and the partials that `wanted` tells by their slices, or `cut`.

        A key and its marks may have several partials.
        """
        mask = self._mask(wanted)
        return _joined(self._raw.picked(mask)), _joined(self._runs.picked(mask))

    def take(self, wanted: Wanted) -> tuple[Frame, Frame]:
        """Take out what `select` returns."""
        mask = self._mask(wanted)
        return _joined(self._raw.take(mask)), _joined(self._runs.take(mask))

    def _mask(self, wanted: Wanted) -> Callable[[pl.DataFrame], Bools]:
        return lambda frame: wanted(frame[self._cut].to_numpy())

    def _reduce(self) -> None:
        """Reduce the rows that share their key and marks to partials."""
        raw = stacked(self._raw.frames)
        alone, run = self.math(raw.schema).reduce_shared(raw, self._marks)
        self._raw = Pieces() if alone is None else Pieces(in_one([alone]))
        left = max(self._raw.height, 0 if run is None else run.height)
        self._raw_most = max(_RAW_MIN, 2 * left)
        if run is not None:
            self._runs.add(run)
        if len(self._runs.frames) > _RUNS_MAX or self._runs.height > 2 * self._base:
            self._merge_runs()

    def _merge_runs(self) -> None:
        if len(self._runs.frames) > 1:
            rows = stacked(self._runs.frames)
            self._runs = Pieces(in_one([self.math(rows.schema).merge(rows, self._marks)]))
        self._base = self._runs.height

    def dump(self) -> dict[str, bytes | None]:
        """Return everything as Arrow IPC, and a frame without rows for the types."""
        self._merge_runs()
        return {
            "rows": self._raw.dump(),
            "partials": self._runs.dump(),
            "types": None if self.made is None else types_to_ipc(self.made.types),
        }

    def load(self, state: Mapping[str, bytes | None]) -> None:
        """Take up what was dumped."""
        self._raw = Pieces.load(state["rows"])
        if state["types"] is None:
            return
        made = self.math(from_ipc(state["types"]).schema)
        partials = made.restored(loaded(state["partials"]))
        self._runs = Pieces() if partials is None else Pieces(partials)
        self._base = self._runs.height

    def restored(self, partials: Frame) -> Frame:
        """Return partials that came out of `loaded` as they were."""
        return partials if self.made is None else self.made.restored(partials)


def _joined(frames: list[pl.DataFrame]) -> Frame:
    return stacked(frames) if frames else None


def loaded(state: bytes | None) -> Frame:
    """Return the frame of `to_ipc`."""
    return None if state is None else from_ipc(state)

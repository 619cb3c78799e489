"""Stores: rows of open windows, reduced to partial aggregates as they become many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.batches import Int64s
from operators.windows.agg import Aggregate
from operators.windows.partials import Partials

_RAW_MIN: Final = 8_192
_RUNS_MAX: Final = 8

Frame = pl.DataFrame | None


class Store:
    """Rows, and the partials they are reduced to, in a few runs.

    A run has a row per key and marks. Runs are merged into one when they hold twice what they
    held after the last time, so a partial is merged once or twice in its life, and the number
    of slices costs nothing.
    """

    def __init__(
        self, aggregates: Mapping[str, Aggregate], by: Sequence[str], marks: Sequence[str]
    ) -> None:
        """Keep partials by key and `marks`, Int64 columns, "slice" among them."""
        self._aggregates, self._by, self._marks = aggregates, by, marks
        self._raw: list[pl.DataFrame] = []
        self._raw_rows = 0
        self._made: Partials | None = None
        self._runs: list[pl.DataFrame] = []
        self._base = 0

    @property
    def rows(self) -> int:
        """How many rows and partials there are."""
        return self._raw_rows + sum(run.height for run in self._runs)

    def math(self, schema: Mapping[str, pl.DataType]) -> Partials:
        """Return what reduces rows of these types; raises InexactError."""
        if self._made is None:
            self._made = Partials(self._aggregates, schema, self._by)
        return self._made

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; they need the keys, HASH, the marks and the aggregates' columns."""
        self._raw.append(rows)
        self._raw_rows += rows.height
        if self._raw_rows > _RAW_MIN:
            self.reduce()

    def partials(self) -> Frame:
        """Return all partials; a key and its marks may have one in each run."""
        return pl.concat(self._runs) if self._runs else None

    def take(
        self, final: Callable[[Int64s], npt.NDArray[np.bool_]], marks: Sequence[str]
    ) -> Frame:
        """Take out what is of the slices that `final` tells, a row per key and `marks`."""
        taken = []
        self._raw, raw = _split(self._raw, final)
        self._raw_rows = sum(rows.height for rows in self._raw)
        if raw:
            rows = pl.concat(raw)
            taken = [self.math(rows.schema).reduce(rows, marks)]
        self._runs, runs = _split(self._runs, final)
        if not runs:
            return taken[0] if taken else None
        rows = pl.concat([each.drop(set(self._marks) - set(marks)) for each in runs])
        if taken:
            rows = pl.concat([rows, taken[0].select(rows.columns)])
        return self.math(rows.schema).merge(rows, marks)

    def drop(self, final: Callable[[Int64s], npt.NDArray[np.bool_]]) -> None:
        """Forget the partials of the slices that `final` tells."""
        self._runs, _ = _split(self._runs, final)

    def reduce(self) -> None:
        """Reduce all rows to partials."""
        if not self._raw:
            return
        raw, self._raw, self._raw_rows = pl.concat(self._raw), [], 0
        run = self.math(raw.schema).reduce(raw, self._marks)
        self._runs.append(run.select(self._runs[0].columns) if self._runs else run)
        if len(self._runs) > _RUNS_MAX or self.rows > 2 * self._base:
            self._merge_runs()

    def _merge_runs(self) -> None:
        if len(self._runs) > 1:
            rows = pl.concat(self._runs)
            self._runs = [self.math(rows.schema).merge(rows, self._marks)]
        self._base = self.rows

    def dump(self) -> dict[str, bytes | None]:
        """Return everything, reduced, as Arrow IPC, and a frame without rows for the types."""
        self.reduce()
        self._merge_runs()
        return {
            "partials": to_ipc(self.partials()),
            "types": None if self._made is None else _ipc(self._made.types),
        }

    def load(self, state: Mapping[str, bytes | None]) -> None:
        """Take up what was dumped."""
        if state["types"] is None:
            return
        made = self.math(pl.read_ipc(state["types"]).schema)
        partials = made.restored(from_ipc(state["partials"]))
        self._runs = [] if partials is None else [partials]
        self._base = self.rows

    def restored(self, partials: Frame) -> Frame:
        """Return partials that came out of `from_ipc` as they were."""
        return partials if self._made is None else self._made.restored(partials)


def _split(
    frames: list[pl.DataFrame], final: Callable[[Int64s], npt.NDArray[np.bool_]]
) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    """Return what stays of frames, and what is of the slices that `final` tells."""
    kept, taken = [], []
    for frame in frames:
        over = final(frame["slice"].to_numpy())
        if over.all():
            taken.append(frame)
        elif over.any():
            taken.append(frame.filter(pl.Series(over)))
            kept.append(frame.filter(pl.Series(~over)))
        else:
            kept.append(frame)
    return kept, taken


def to_ipc(frame: Frame) -> bytes | None:
    """Return a frame as Arrow IPC, None if there is nothing in it."""
    if frame is None or frame.height == 0:
        return None
    # 128-bit integers are Polars' own; to Arrow they are decimals without a fraction.
    return _ipc(frame.with_columns(pl.selectors.by_dtype(pl.Int128).cast(pl.Decimal(38, 0))))


def _ipc(frame: pl.DataFrame) -> bytes:
    return frame.write_ipc(None, compression="lz4").getvalue()


def from_ipc(state: bytes | None) -> Frame:
    """Return the frame of `to_ipc`; 128-bit integers stay decimals."""
    return None if state is None else pl.read_ipc(state)

"""Stores: rows of open windows, reduced to partial aggregates as they become many."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.batches import Int64s
from operators.windows.agg import Aggregate
from operators.windows.partials import Partials

_RAW_MIN: Final = 8_192

Frame = pl.DataFrame | None


class Store:
    """Rows, and the partials they are reduced to, in a few runs.

    A run has a row per key and slice. A new one is merged with the last while that is at most
    twice as large, so each partial is merged a few times, the number of slices costs nothing,
    and there are never more than log2 of the rows runs.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate], keys: list[str]) -> None:
        """`keys` are those of partials, "slice" among them."""
        self._aggregates, self._keys = aggregates, keys
        self._raw: list[pl.DataFrame] = []
        self._raw_rows = 0
        self._made: Partials | None = None
        self._runs: list[pl.DataFrame] = []

    @property
    def rows(self) -> int:
        """How many rows and partials there are."""
        return self._raw_rows + sum(run.height for run in self._runs)

    def math(self, schema: Mapping[str, pl.DataType]) -> Partials:
        """Return what reduces rows of these types; raises InexactError."""
        if self._made is None:
            self._made = Partials(self._aggregates, schema)
        return self._made

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; they need the keys and the aggregates' columns."""
        self._raw.append(rows)
        self._raw_rows += rows.height
        if self._raw_rows > _RAW_MIN:
            self.reduce()

    def take_raw(self) -> Frame:
        """Take the rows that are not reduced out."""
        raw, self._raw, self._raw_rows = self._raw, [], 0
        return pl.concat(raw) if raw else None

    def partials(self) -> Frame:
        """Return all partials; a key and slice may have one in each run."""
        return pl.concat(self._runs) if self._runs else None

    def take(self, final: Callable[[Int64s], npt.NDArray[np.bool_]]) -> Frame:
        """Take out the partials of the slices that `final` tells, a row per key and slice."""
        taken, kept = [], []
        for run in self._runs:
            over = final(run["slice"].to_numpy())
            if over.any():
                taken.append(run if over.all() else run.filter(pl.Series(over)))
                run = run.clear() if over.all() else run.filter(pl.Series(~over))
            if run.height:
                kept.append(run)
        self._runs = kept
        if not taken:
            return None
        rows = pl.concat(taken)
        return rows if len(taken) == 1 else self.math(rows.schema).merge(rows, self._keys)

    def reduce(self) -> None:
        """Reduce all rows to partials."""
        raw = self.take_raw()
        if raw is None:
            return
        run = self.math(raw.schema).reduce(raw, self._keys)
        while self._runs and self._runs[-1].height <= 2 * run.height:
            run = self.joined(self._runs.pop(), run, self._keys)
        self._runs.append(run)

    def joined(self, one: Frame, other: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
        """Return two frames of partials as one, a row per value of `keys`."""
        if one is None or one.height == 0:
            return other
        rows = pl.concat([one, other.select(one.columns)])
        return self.math(rows.schema).merge(rows, keys)

    def dump(self) -> dict[str, bytes | None]:
        """Return everything, reduced, as Arrow IPC, and a frame without rows for the types."""
        self.reduce()
        while len(self._runs) > 1:
            last = self._runs.pop()
            self._runs.append(self.joined(self._runs.pop(), last, self._keys))
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

    def restored(self, partials: Frame) -> Frame:
        """Return partials that came out of `from_ipc` as they were."""
        return partials if self._made is None else self._made.restored(partials)


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

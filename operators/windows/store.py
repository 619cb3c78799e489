"""Stores: rows of open windows, reduced to partial aggregates as they become many."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from operators.windows.agg import Aggregate
from operators.windows.partials import Partials

_RAW_MIN: Final = 8_192

Frame = pl.DataFrame | None


class Store:
    """Rows, and by slice the partials they are reduced to; at most twice as many rows.

    Each row is reduced once, and each partial of a slice once for twice as many new rows, so
    the cost per row does not grow with what there is. Slices that get no rows are not touched.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate], keys: list[str]) -> None:
        """`keys` are those of partials, "slice" among them."""
        self._aggregates, self._keys = aggregates, keys
        self._raw: list[pl.DataFrame] = []
        self._raw_rows = 0
        self._made: Partials | None = None
        self.slices: dict[int, pl.DataFrame] = {}

    @property
    def rows(self) -> int:
        """How many rows and partials there are."""
        return self._raw_rows + sum(each.height for each in self.slices.values())

    def math(self, schema: Mapping[str, pl.DataType]) -> Partials:
        """Return what reduces rows of these types; raises InexactError."""
        if self._made is None:
            self._made = Partials(self._aggregates, schema)
        return self._made

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; they need the keys and the aggregates' columns."""
        self._raw.append(rows)
        self._raw_rows += rows.height
        largest = max((each.height for each in self.slices.values()), default=0)
        if self._raw_rows > max(_RAW_MIN, 2 * largest):
            self.reduce()

    def take_raw(self) -> Frame:
        """Take the rows that are not reduced out."""
        raw, self._raw, self._raw_rows = self._raw, [], 0
        return pl.concat(raw) if raw else None

    def take(self, slices: list[int]) -> Frame:
        """Take the partials of slices out."""
        taken = [self.slices.pop(each) for each in slices]
        return pl.concat(taken) if taken else None

    def reduce(self) -> None:
        """Reduce all rows to partials."""
        raw = self.take_raw()
        if raw is None:
            return
        made = self.math(raw.schema).reduce(raw, self._keys)
        for (key,), new in made.partition_by("slice", as_dict=True).items():
            slice_ = int(str(key))
            self.slices[slice_] = self.joined(self.slices.get(slice_), new, self._keys)

    def joined(self, one: Frame, other: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
        """Return two frames of partials as one, a row per value of `keys`."""
        if one is None or one.height == 0:
            return other
        rows = pl.concat([one, other.select(one.columns)])
        return self.math(rows.schema).merge(rows, keys)

    def dump(self) -> dict[str, bytes | None]:
        """Return everything, reduced, as Arrow IPC, and a frame without rows for the types."""
        self.reduce()
        return {
            "partials": to_ipc(pl.concat(self.slices.values()) if self.slices else None),
            "types": None if self._made is None else _ipc(self._made.types),
        }

    def load(self, state: Mapping[str, bytes | None]) -> None:
        """Take up what was dumped."""
        if state["types"] is None:
            return
        made = self.math(pl.read_ipc(state["types"]).schema)
        partials = made.restored(from_ipc(state["partials"]))
        if partials is not None:
            by_slice = partials.partition_by("slice", as_dict=True).items()
            self.slices = {int(str(key)): each for (key,), each in by_slice}

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

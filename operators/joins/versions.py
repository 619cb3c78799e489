"""The versions of a slowly changing table, found by key as of a time."""

from typing import Final

import numpy as np
import polars as pl

from operators.batches import Int64s
from operators.hashing import UInt64s
from operators.index import KeyIndex, Mask
from operators.waiting import HASH, TIME_US, Side, as_ipc, from_ipc

_TIDY_MIN: Final = 8_192


class Versions:
    """Versions in order of their time, by key.

    The index tells keys apart by their hash and the result by their values. Where two keys
    share a hash, which two of a million do with a probability of 3e-8, the later version of
    either hides the other's: such a row counts as one without a version.
    """

    def __init__(self, side: Side) -> None:
        """`side` is that of the keyed rows."""
        self._side = side
        self._frames: list[pl.DataFrame] = []
        self._times = np.empty(0, np.int64)
        self._parts: list[Int64s] = []
        self._size = self._tidied = 0
        self._index = KeyIndex()

    def __len__(self) -> int:
        return self._size

    def append(self, rows: pl.DataFrame) -> None:
        """Take keyed rows sorted by time, none of them before an earlier one."""
        self._index.add(rows[HASH].to_numpy(), self._size, _all)
        self._parts.append(rows[TIME_US].to_numpy())
        self._frames.append(rows)
        self._size += rows.height

    def as_of(
        self, hashes: UInt64s, times: Int64s, keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, Mask]:
        """Return the output columns valid at `times` per key, and where there is a version."""
        if self._parts:
            self._times = np.concatenate((self._times, *self._parts))
            self._parts = []
        if len(self._frames) > 4:
            self._frames = [pl.concat(self._frames, rechunk=True)]
        schema = {n: t for n, t in self._side.schema.items() if n != "_deleted"}
        nothing = pl.select(
            pl.repeat(None, len(times), dtype=dtype).alias(name)
            for name, dtype in schema.items()
        )
        if not self._frames:
            return nothing, np.zeros(len(times), bool)
        # Ids follow the times, so "up to this time" is "below this id".
        ids = self._index.newest(hashes, np.searchsorted(self._times, times, "right"))
        known = ids >= 0
        whole = pl.concat(self._frames, rechunk=False)[np.maximum(ids, 0)]
        for ours, theirs in zip(keys.columns, self._side.keys, strict=True):
            known &= (keys[ours] == whole[theirs]).fill_null(False).to_numpy()
        if "_deleted" in whole.columns:
            known &= ~whole["_deleted"].fill_null(False).to_numpy()
        found = whole.select(*schema)
        if known.all():
            return found, known
        mask = pl.lit(pl.Series(known))
        return found.select(pl.when(mask).then(pl.col(n)).alias(n) for n in schema), known

    def tidy(self) -> None:
        """Drop all but each key's newest version, if they have doubled since the last time."""
        if self._size <= max(_TIDY_MIN, 2 * self._tidied):
            return
        whole = pl.concat(self._frames, rechunk=True)
        newest = whole.unique(HASH, keep="last", maintain_order=True)
        if "_deleted" in newest.columns:
            newest = newest.filter(~pl.col("_deleted").fill_null(False))
        self.load_rows(newest)
        self._tidied = self._size

    def load_rows(self, rows: pl.DataFrame) -> None:
        """Replace all by keyed rows sorted by time."""
        self._frames, self._parts, self._size = [], [], 0
        self._times, self._index = np.empty(0, np.int64), KeyIndex()
        if rows.height:
            self.append(rows)

    def dump(self) -> bytes | None:
        """Return the versions as Arrow IPC."""
        return as_ipc(self._frames)

    def load(self, state: bytes) -> None:
        """Take up dumped versions."""
        self.load_rows(from_ipc(state))


def _all(ids: Int64s) -> Mask:
    return np.ones(len(ids), bool)

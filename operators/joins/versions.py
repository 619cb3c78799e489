"""The versions of a slowly changing table, found by key as of a time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.frames import in_one
from operators.columns.index import KeyIndex
from operators.columns.ipc import to_ipc
from operators.columns.sorted_runs import SortedRuns
from operators.state.event_time_buffer import HASH, OFFSET, PARTITION, TIME_US, Side
from operators.state.shards import Rows, of_shard, read, write

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
        self._frames = SortedRuns(in_one)
        self._new: list[pl.DataFrame] = []
        self._times = np.empty(0, np.int64)
        self._parts: list[Int64s] = []
        self._size = self._tidied = 0
        self._index = KeyIndex()

    def __len__(self) -> int:
        return self._size

    def append(self, rows: pl.DataFrame) -> None:
        """Take keyed rows sorted by time, none of them before an earlier one."""
        self._new.append(rows)
        self._put(rows)

    def _put(self, rows: pl.DataFrame) -> None:
        self._index.add(rows[HASH].to_numpy(), self._size)
        self._parts.append(rows[TIME_US].to_numpy())
        self._frames.add(rows)
        self._size += rows.height

    def as_of(
        self, hashes: UInt64s, times: Int64s, keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, Bools]:
        """Return the output columns valid at `times` per key, and where there is a version."""
        if self._parts:
            self._times = np.concatenate((self._times, *self._parts))
            self._parts = []
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
        newest = _newest(whole)
        if self._new:
            self._new = [in_one([_newest(pl.concat(self._new))])]
        if "_deleted" in newest.columns:
            newest = newest.filter(~pl.col("_deleted").fill_null(False))
        self._replace(in_one([newest]))
        self._tidied = self._size

    def _replace(self, rows: pl.DataFrame) -> None:
        self._frames.replace([])
        self._parts, self._size = [], 0
        self._times, self._index = np.empty(0, np.int64), KeyIndex()
        if rows.height:
            self._put(rows)

    @property
    def changed(self) -> int:
        """How many versions are new since `settle`."""
        return sum(frame.height for frame in self._new)

    def head(self) -> dict[str, Any]:
        """Return nothing: all is in the rows."""
        return {}

    def changes(self) -> dict[str, Any]:
        """Return the versions that are new since `settle`."""
        return {"rows": to_ipc(*self._new)}

    def shard(self, shard: int) -> dict[str, Any]:
        """Return all versions of a shard."""
        frames = list(self._frames)
        return write(frames, [of_shard(f[HASH].to_numpy(), shard) for f in frames])

    def settle(self) -> None:
        """Let nothing count as new."""
        self._new = []

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before; what has been dropped may come back and hides nothing.

        A version that marks its key as deleted is in an entry for as long as an older one is.
        """
        frames = read(found, HASH)
        self._new = [rows for rows, changed in frames if changed]
        if frames:
            rows = pl.concat([rows for rows, _ in frames])
            self._replace(rows.sort(TIME_US, PARTITION, OFFSET))


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique(HASH, keep="last", maintain_order=True)

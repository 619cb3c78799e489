"""Totals: what a partition's events of each key came to, found by the key's hash."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Indices, Int64s, UInt64s
from operators.records.batches import NO_WATERMARK
from operators.state.shards import Rows, gather, last_of_each, span_of_shard

Array = npt.NDArray[Any]

PERIOD: Final = "period"
"""The column of the period that a key's last event was in."""

_NEW_MOST: Final = 4_096


class Totals:
    """A row of totals per key: parallel arrays, found by a sorted index of the keys' hashes.

    The index of the newest keys is one of its own, so that a key that comes does not move all
    that are there.
    """

    def __init__(self, columns: Mapping[str, np.generic]) -> None:
        """`columns` are what a row has beside its period, each with its value for a new key."""
        self._empty: dict[str, np.generic] = {PERIOD: np.int64(0), **columns}
        self._keys: UInt64s = np.empty(0, np.uint64)
        self._slots = np.empty(0, np.int64)
        self._new_keys, self._new_slots = self._keys, self._slots
        self.size = 0
        self._forgotten = NO_WATERMARK
        self.columns: dict[str, Array] = {
            name: np.empty(0, empty.dtype) for name, empty in self._empty.items()
        }
        self.columns["changed"] = np.empty(0, bool)

    @property
    def changed(self) -> int:
        """How many rows are new or changed since `settle`."""
        return int(np.count_nonzero(self.columns["changed"][: self.size]))

    def find(self, keys: UInt64s) -> Int64s:
        """Return each key's slot, making one for the keys that have none; `keys` sorted."""
        slots, _ = _look_up(self._keys, self._slots, keys)
        others = np.flatnonzero(slots < 0)
        if len(others) == 0:
            return slots
        slots[others], at = _look_up(self._new_keys, self._new_slots, keys[others])
        unknown = slots[others] < 0
        fresh, at = others[unknown], at[unknown]
        if len(fresh):
            slots[fresh] = np.arange(self.size, self.size + len(fresh))
            self._new_keys = np.insert(self._new_keys, at, keys[fresh])
            self._new_slots = np.insert(self._new_slots, at, slots[fresh])
            self._grow(self.size + len(fresh))
            if len(self._new_keys) > _NEW_MOST:
                self._join()
        return slots

    def _join(self) -> None:
        """Put the newest keys among the others."""
        if len(self._new_keys):
            at = np.searchsorted(self._keys, self._new_keys)
            self._keys = np.insert(self._keys, at, self._new_keys)
            self._slots = np.insert(self._slots, at, self._new_slots)
            self._new_keys, self._new_slots = self._new_keys[:0], self._new_slots[:0]

    def _grow(self, size: int) -> None:
        if size > len(self.columns[PERIOD]):
            room = max(1024, 2 * size)
            for name, column in self.columns.items():
                larger = np.full(room, self._empty.get(name, False), column.dtype)
                larger[: self.size] = column[: self.size]
                self.columns[name] = larger
        self.size = size

    def forget_before(self, period: int) -> None:
        """Drop the keys whose last event was before `period`, unless that was done."""
        if period <= self._forgotten:
            return
        self._forgotten = period
        self._join()
        kept = np.flatnonzero(self.columns[PERIOD][self._slots] >= period)
        if len(kept) < len(self._keys):
            slots = self._slots[kept]
            self._keys = self._keys[kept]
            self.columns = {name: column[slots] for name, column in self.columns.items()}
            self.size = len(kept)
            self._slots = np.arange(self.size)

    def _of(self, rows: Indices | slice) -> dict[str, bytes]:
        """Return the rows at some places of the index as builtins."""
        slots = self._slots[rows]
        return {
            "key": self._keys[rows].tobytes(),
            **{name: self.columns[name][slots].tobytes() for name in self._empty},
        }

    def head(self) -> dict[str, int]:
        """Return what is no row."""
        return {"forgotten": self._forgotten}

    def changes(self) -> dict[str, bytes]:
        """Return the rows that are new or changed since `settle`."""
        self._join()
        return self._of(np.flatnonzero(self.columns["changed"][self._slots]))

    def shard(self, shard: int) -> dict[str, bytes]:
        """Return all rows of a shard."""
        self._join()
        return self._of(span_of_shard(self._keys, shard))

    def settle(self) -> None:
        """Let no row count as changed."""
        self.columns["changed"][:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up rows that were given before; of each key the last counts."""
        types = {name: empty.dtype.type for name, empty in self._empty.items()}
        rows = gather(found, {"key": np.uint64, **types})
        last = last_of_each(rows["key"])
        self._keys, self.size = rows["key"][last], len(last)
        self._slots = np.arange(self.size)
        self.columns = {name: rows[name][last] for name in self.columns}
        # What was forgotten may be in an old entry.
        self.forget_before(head["forgotten"])


def _look_up(index: UInt64s, slots: Int64s, keys: UInt64s) -> tuple[Int64s, Int64s]:
    """Return each key's slot, -1 where a sorted index lacks it, and its place there."""
    at = np.searchsorted(index, keys)
    found = np.full(len(keys), -1)
    if len(index):
        near = np.minimum(at, len(index) - 1)
        known = index[near] == keys
        found[known] = slots[near[known]]
    return found, at

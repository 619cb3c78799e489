"""Cards: what a partition's payments of each card came to, found by the card's hash."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from operators.batches import Int64s
from operators.hashing import UInt64s


class Cards:
    """A row of totals per card: parallel arrays, found by a sorted index of card hashes."""

    _COLUMNS: Final = {
        "count": np.int64, "amount": np.int64, "period": np.int64,
        "time": np.int64, "latitude": np.float64, "longitude": np.float64,
    }  # fmt: skip

    def __init__(self) -> None:
        self.keys: UInt64s = np.empty(0, np.uint64)
        self.slots = np.empty(0, np.int64)
        self.size = 0
        self.columns = {name: np.empty(0, dtype) for name, dtype in self._COLUMNS.items()}

    def find(self, keys: UInt64s) -> Int64s:
        """Return each key's slot, making one for the keys that have none; `keys` sorted."""
        at = np.searchsorted(self.keys, keys)
        known = np.zeros(len(keys), bool)
        inside = at < len(self.keys)
        known[inside] = self.keys[at[inside]] == keys[inside]
        fresh = np.flatnonzero(~known)
        slots = np.empty(len(keys), np.int64)
        slots[known] = self.slots[at[known]]
        if len(fresh):
            slots[fresh] = np.arange(self.size, self.size + len(fresh))
            self.keys = np.insert(self.keys, at[fresh], keys[fresh])
            self.slots = np.insert(self.slots, at[fresh], slots[fresh])
            self._grow(self.size + len(fresh))
        return slots

    def _grow(self, size: int) -> None:
        if size > len(self.columns["count"]):
            room = max(1024, 2 * size)
            for name, column in self.columns.items():
                larger = np.full(
                    room, np.nan if column.dtype == np.float64 else 0, column.dtype
                )
                larger[: self.size] = column[: self.size]
                self.columns[name] = larger
        self.size = size

    def forget_before(self, period: int) -> None:
        """Drop the cards whose last payment was before `period`."""
        kept = np.flatnonzero(self.columns["period"][self.slots] >= period)
        if len(kept) < len(self.keys):
            slots = self.slots[kept]
            self.keys = self.keys[kept]
            self.columns = {name: column[slots] for name, column in self.columns.items()}
            self.size = len(kept)
            self.slots = np.arange(self.size)

    def dump(self) -> dict[str, bytes]:
        """Return the cards as builtins."""
        return {
            "keys": self.keys.tobytes(),
            **{name: column[self.slots].tobytes() for name, column in self.columns.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up dumped cards."""
        self.keys = np.frombuffer(state["keys"], np.uint64)
        self.size = len(self.keys)
        self.slots = np.arange(self.size)
        self.columns = {
            name: np.frombuffer(state[name], dtype).copy()
            for name, dtype in self._COLUMNS.items()
        }

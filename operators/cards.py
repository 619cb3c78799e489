"""Cards: what a partition's payments of each card came to, found by the card's hash."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from operators.batches import NO_WATERMARK, Int64s
from operators.grouping import Indices
from operators.hashing import UInt64s
from operators.parts import Rows, gather, last_of_each, span_of_part


class Cards:
    """A row of totals per card: parallel arrays, found by a sorted index of card hashes."""

    _COLUMNS: Final[dict[str, type[np.generic]]] = {
        "count": np.int64, "amount": np.int64, "period": np.int64,
        "time": np.int64, "latitude": np.float64, "longitude": np.float64,
    }  # fmt: skip

    def __init__(self) -> None:
        self.keys: UInt64s = np.empty(0, np.uint64)
        self.slots = np.empty(0, np.int64)
        self.size = 0
        self._forgotten = NO_WATERMARK
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: np.empty(0, dtype) for name, dtype in self._COLUMNS.items()
        }
        self.columns["changed"] = np.empty(0, bool)

    @property
    def changed(self) -> int:
        """How many cards are new or changed since `settle`."""
        return int(np.count_nonzero(self.columns["changed"][: self.size]))

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
        """Drop the cards whose last payment was before `period`, unless that was done."""
        if period <= self._forgotten:
            return
        self._forgotten = period
        kept = np.flatnonzero(self.columns["period"][self.slots] >= period)
        if len(kept) < len(self.keys):
            slots = self.slots[kept]
            self.keys = self.keys[kept]
            self.columns = {name: column[slots] for name, column in self.columns.items()}
            self.size = len(kept)
            self.slots = np.arange(self.size)

    def _of(self, rows: Indices | slice) -> dict[str, bytes]:
        """Return the cards at some places of the index as builtins."""
        slots = self.slots[rows]
        return {
            "key": self.keys[rows].tobytes(),
            **{name: self.columns[name][slots].tobytes() for name in self._COLUMNS},
        }

    def head(self) -> dict[str, int]:
        """Return what is no card."""
        return {"forgotten": self._forgotten}

    def changes(self) -> dict[str, bytes]:
        """Return the cards that are new or changed since `settle`."""
        return self._of(np.flatnonzero(self.columns["changed"][self.slots]))

    def part(self, part: int) -> dict[str, bytes]:
        """Return all cards of a part."""
        return self._of(span_of_part(self.keys, part))

    def settle(self) -> None:
        """Let no card count as changed."""
        self.columns["changed"][:] = False

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up cards that were given before; of each the last counts."""
        rows = gather(found, {"key": np.uint64, **self._COLUMNS})
        last = last_of_each(rows["key"])
        self.keys, self.size = rows["key"][last], len(last)
        self.slots = np.arange(self.size)
        self.columns = {name: rows[name][last] for name in self.columns}
        # What was forgotten may be in an old entry.
        self.forget_before(head["forgotten"])

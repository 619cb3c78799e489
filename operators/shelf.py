"""A shelf: rows in order of event time, found by key, forgotten from the front."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.batches import Int64s
from operators.hashing import UInt64s
from operators.index import KeyIndex, Mask
from operators.waiting import as_ipc, from_ipc

Array = npt.NDArray[Any]

_RATIO: Final = 4


class Shelf:
    """Rows appended in order of time; each has the next id.

    A row has a key's hash, a time in µs, numbers in named columns that may be changed in
    place, and a payload in a frame. What is before some time is forgotten as a whole; a single
    row can be taken off the index before that.
    """

    def __init__(self, **columns: type[np.generic]) -> None:
        """`columns` are the names and types of the numbers that a row has."""
        self._types: dict[str, type[np.generic]] = {
            "key": np.uint64, "time": np.int64, "alive": np.bool_, **columns
        }  # fmt: skip
        self._arrays: dict[str, Array] = {n: np.empty(0, t) for n, t in self._types.items()}
        self._head = self._tail = 0
        self.first = 0
        """The id of the oldest row."""
        self._frames: list[pl.DataFrame] = []
        self._frames_first = 0
        self._index = KeyIndex()

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def end(self) -> int:
        """The id that the next row will have."""
        return self.first + len(self)

    def column(self, name: str) -> Array:
        """Return a column of numbers of all rows, a view to change in place; also "time"."""
        return self._arrays[name][self._head : self._tail]

    def append(
        self, keys: UInt64s, times: Int64s, frame: pl.DataFrame | None, **columns: Array
    ) -> int:
        """Put rows behind the last ones, none of them older; return the first one's id."""
        size, first = len(keys), self.end
        if size == 0:
            return first
        self._make_room(size)
        added: dict[str, Array] = {
            "key": keys,
            "time": times,
            "alive": np.ones(size, bool),
            **columns,
        }
        for name, array in self._arrays.items():
            array[self._tail : self._tail + size] = added.get(name, 0)
        self._tail += size
        if frame is not None:
            while self._frames and self._frames[-1].height < _RATIO * frame.height:
                frame = pl.concat([self._frames.pop(), frame], rechunk=True)
            self._frames.append(frame)
        self._index.add(keys, first, self._kept)
        return first

    def _kept(self, ids: Int64s) -> Mask:
        keep = ids >= self.first
        keep[keep] = self.column("alive")[ids[keep] - self.first]
        return keep

    def _make_room(self, size: int) -> None:
        if self._tail + size <= len(self._arrays["time"]):
            return
        live = len(self)
        for name, array in self._arrays.items():
            larger = np.empty(max(1024, 2 * (live + size)), array.dtype)
            larger[:live] = array[self._head : self._tail]
            self._arrays[name] = larger
        self._head, self._tail = 0, live

    def find(
        self, keys: UInt64s, low: Int64s | None, high: Int64s | None
    ) -> tuple[Int64s, Int64s]:
        """Return (position in `keys`, id) of each key's living rows with an id in [low, high).

        None stands for no bound.
        """
        # What was forgotten may still be in the index.
        floor = np.full(len(keys), self.first, np.int64)
        low = floor if low is None else np.maximum(low, floor)
        high = np.full(len(keys), self.end, np.int64) if high is None else high
        places, ids = self._index.find(keys, low, high)
        alive = self.column("alive")[ids - self.first]
        return (places, ids) if alive.all() else (places[alive], ids[alive])

    def bound(self, times: Int64s, side: str = "left") -> Int64s:
        """Return the id of the first row at or (side "right") behind each time, shape (n,)."""
        return np.searchsorted(self.column("time"), times, side) + self.first  # type: ignore[call-overload,no-any-return] # side is left or right

    def kill(self, ids: Int64s) -> None:
        """Take rows off the index."""
        self.column("alive")[ids - self.first] = False

    def payload(self, ids: Int64s) -> pl.DataFrame:
        """Return the payload of rows, in the order of `ids`."""
        frames = self._frames
        # Without copying; Polars gathers from a few chunks as fast as from one.
        whole = frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=False)
        return whole[ids - self._frames_first]

    def forget(self, before: int) -> None:
        """Drop the rows before a time in µs."""
        gone = int(np.searchsorted(self.column("time"), before))
        if gone == 0:
            return
        self._head += gone
        self.first += gone
        frames = self._frames
        while frames and self._frames_first + frames[0].height <= self.first:
            self._frames_first += frames.pop(0).height
        if frames and 2 * (dead := self.first - self._frames_first) > frames[0].height:
            # A slice would keep the memory of the whole.
            frames[0] = frames[0][np.arange(dead, frames[0].height)]
            self._frames_first = self.first
        if not frames:
            self._frames_first = self.end
        if len(self) == 0:
            self._index = KeyIndex()

    def dump(self) -> dict[str, Any]:
        """Return the rows as builtins."""
        skip = self.first - self._frames_first
        frames = [self._frames[0].slice(skip), *self._frames[1:]] if self._frames else []
        return {
            "first": self.first,
            "rows": len(self),
            "columns": {name: self.column(name).tobytes() for name in self._arrays},
            "payload": as_ipc(frames),
        }

    def load(self, state: Mapping[str, Any]) -> Self:
        """Take up dumped rows."""
        self.first = self._frames_first = state["first"]
        self._tail = state["rows"]
        self._arrays = {
            name: np.frombuffer(state["columns"][name], dtype).copy()
            for name, dtype in self._types.items()
        }
        if state["payload"] is not None:
            self._frames = [from_ipc(state["payload"])]
        if len(self):
            self._index.add(self.column("key"), self.first, self._kept)
        return self

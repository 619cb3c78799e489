"""The time log: rows in order of event time, found by key, forgotten from the front."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.frames import in_one
from operators.columns.index import KeyIndex
from operators.columns.ipc import from_ipc, to_ipc
from operators.columns.sorted_runs import SortedRuns
from operators.state.shards import Rows, gather, last_of_each, of_shard

Array = npt.NDArray[Any]


class TimeLog:
    """Rows in order of time; each has the next id.

    A row has a key's hash, a time in µs, numbers in named columns that may be changed, and a
    payload in a frame. What is before some time is forgotten as a whole; a single
    row can be taken off the index before that.
    """

    def __init__(self, **columns: type[np.generic]) -> None:
        """`columns` are the names and types of the numbers that a row has."""
        self._numbers: dict[str, type[np.generic]] = {
            "key": np.uint64, "time": np.int64, "alive": np.bool_, **columns
        }  # fmt: skip
        self._arrays: dict[str, Array] = {n: np.empty(0, t) for n, t in self._numbers.items()}
        self._arrays["changed"] = np.empty(0, bool)
        self._settled = 0
        self._head = self._tail = 0
        self.first = 0
        """The id of the oldest row."""
        self._frames = SortedRuns(in_one)
        self._frames_first = 0
        self._index = KeyIndex(self._kept)

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def end(self) -> int:
        """The id that the next row will have."""
        return self.first + len(self)

    def column(self, name: str) -> Array:
        """Return a column of numbers of all rows, a view that `set` writes to; also "time"."""
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
            "changed": np.ones(size, bool),
            **columns,
        }
        for name, array in self._arrays.items():
            array[self._tail : self._tail + size] = added.get(name, 0)
        self._tail += size
        if frame is not None:
            self._frames.add(frame)
        self._index.add(keys, first)
        return first

    def _kept(self, ids: Int64s) -> Bools:
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

    def set(self, ids: Int64s, **numbers: Array | bool) -> None:
        """Change numbers of rows; each is one for all or has shape (n,) as `ids`."""
        at = ids - self.first
        for name, values in numbers.items():
            self.column(name)[at] = values
        self.column("changed")[at] = True

    def kill(self, ids: Int64s) -> None:
        """Take rows off the index."""
        self.set(ids, alive=False)

    def payload(self, ids: Int64s) -> pl.DataFrame:
        """Return the payload of rows, in the order of `ids`."""
        # Without copying; Polars gathers from a few chunks as fast as from one.
        return pl.concat(self._frames, rechunk=False)[ids - self._frames_first]

    def forget(self, before: int) -> None:
        """Drop the rows before a time in µs."""
        gone = int(np.searchsorted(self.column("time"), before))
        if gone == 0:
            return
        self._head += gone
        self.first += gone
        frames = list(self._frames)
        while frames and self._frames_first + frames[0].height <= self.first:
            self._frames_first += frames.pop(0).height
        if frames and 2 * (dead := self.first - self._frames_first) > frames[0].height:
            # A slice would keep the memory of the whole.
            frames[0] = frames[0][np.arange(dead, frames[0].height)]
            self._frames_first = self.first
        if not frames:
            self._frames_first = self.end
        self._frames.replace(frames)
        if len(self) == 0:
            self._index = KeyIndex(self._kept)

    @property
    def changed(self) -> int:
        """How many rows are new or changed since `settle`."""
        return int(np.count_nonzero(self.column("changed")))

    def head(self) -> dict[str, int]:
        """Return what is no row."""
        return {"first": self.first}

    def changes(self) -> dict[str, Any]:
        """Return the rows that are new, and the numbers of those that changed, since `settle`."""
        return self._written(np.flatnonzero(self.column("changed")), self._settled)

    def shard(self, shard: int) -> dict[str, Any]:
        """Return all rows of a shard."""
        return self._written(np.flatnonzero(of_shard(self.column("key"), shard)), self.first)

    def _written(self, at: Int64s, payload_from: int) -> dict[str, Any]:
        """Return rows by position as builtins, with the payloads from an id on."""
        ids = at + self.first
        new = ids[ids >= payload_from]
        return {
            "ids": ids.tobytes(),
            **{name: self.column(name)[at].tobytes() for name in self._numbers},
            "payload_from": payload_from,
            "payload": to_ipc(self.payload(new)) if self._frames and len(new) else None,
        }

    def settle(self) -> None:
        """Let nothing count as changed."""
        self.column("changed")[:] = False
        self._settled = self.end

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before."""
        self.first = self._frames_first = head["first"]
        rows = gather(found, {"ids": np.int64, **self._numbers})
        # What was forgotten may be in an old entry.
        last = last_of_each(rows["ids"])
        last = last[rows["ids"][last] >= self.first]
        self._tail = len(last)
        self._arrays = {name: rows[name][last] for name in self._arrays}
        self._frames.replace(self._payloads(found))
        self._settled = self.end
        for each in found:
            if each.changed:
                self._settled = each.rows["payload_from"]
        if len(self):
            self._index.add(self.column("key"), self.first)

    def _payloads(self, found: Sequence[Rows]) -> list[pl.DataFrame]:
        """Return the payload of every row that is there."""
        frames, numbers = [], []
        for each in found:
            if each.rows["payload"] is not None:
                ids = np.frombuffer(each.rows["ids"], np.int64)
                new = ids >= each.rows["payload_from"]
                count = each.count(np.frombuffer(each.rows["key"], np.uint64)[new])
                frames.append(from_ipc(each.rows["payload"]).filter(pl.Series(count)))
                numbers.append(ids[new][count])
        if not frames:
            return []
        ids = np.concatenate(numbers)
        last = last_of_each(ids)
        last = last[ids[last] >= self.first]
        return [pl.concat(frames)[last]] if len(last) else []

"""Shards: a state's rows by the hash of their key, and rows taken up as they were written."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.ipc import from_ipc, to_ipc

SHARDS: Final = 16
"""How many shards a state's rows are of; fixed for the life of a recovery store."""

_WIDTH: Final = 2**64 // SHARDS


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as a state has once given them, for it to take them up again.

    Those count whose shard is true in `shards`, shape (SHARDS,). `changed` are rows that no entry
    has yet. `version` is that of the state that gave them, 0 where that was not said yet.
    """

    rows: Mapping[str, Any]
    shards: Bools
    changed: bool
    version: int = 0

    def of(self, member: str) -> Self:
        """Return those of one member of the state."""
        return replace(self, rows=self.rows[member])

    def count(self, keys: UInt64s) -> Bools:
        """Return which of the rows with these keys' hashes count; shape (n,)."""
        mask: Bools = self.shards[(keys // np.uint64(_WIDTH)).astype(np.intp)]
        return mask


def of_shard(keys: UInt64s, shard: int) -> Bools:
    """Return which hashes are of a shard, shape (n,): it has the same highest bits."""
    mask: Bools = keys // np.uint64(_WIDTH) == np.uint64(shard)
    return mask


def span_of_shard(keys: UInt64s, shard: int) -> slice:
    """Return where the hashes of a shard stand in sorted ones."""
    first, last = np.uint64(shard * _WIDTH), np.uint64((shard + 1) * _WIDTH - 1)
    return slice(int(np.searchsorted(keys, first)), int(np.searchsorted(keys, last, "right")))


def gather(
    found: Sequence[Rows], types: Mapping[str, type[np.generic]]
) -> dict[str, npt.NDArray[Any]]:
    """Return the rows that count, in order: each column of bytes as one array, and "changed".

    Among the columns is "key", the keys' hashes.
    """
    made: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (*types, "changed")}
    for each in found:
        kept = np.flatnonzero(each.count(np.frombuffer(each.rows["key"], np.uint64)))
        for name, dtype in types.items():
            made[name].append(np.frombuffer(each.rows[name], dtype)[kept])
        made["changed"].append(np.full(len(kept), each.changed))
    return {
        name: np.concatenate(arrays) if arrays else np.empty(0, types.get(name, np.bool_))
        for name, arrays in made.items()
    }


def write(frames: Sequence[pl.DataFrame], which: Sequence[Bools]) -> dict[str, Any]:
    """Return the rows of frames where the frame's mask, shape (n,), is true, as builtins."""
    some = [(frame, mask) for frame, mask in zip(frames, which, strict=True) if mask.any()]
    if not some:
        return {"rows": None}
    # At once: a call per frame would cost more than the rows.
    rows = pl.concat([frame for frame, _ in some], rechunk=False)
    at = np.flatnonzero(np.concatenate([mask for _, mask in some]))
    return {"rows": to_ipc(rows if len(at) == rows.height else rows[at])}


def read(found: Sequence[Rows], key: str) -> list[tuple[pl.DataFrame, bool]]:
    """Return frames of what `write` gave, the rows that count, and whether they are changed.

    `key` names the column of the keys' hashes.
    """
    frames = []
    for each in found:
        if each.rows["rows"] is not None:
            rows = from_ipc(each.rows["rows"])
            count = each.count(rows[key].to_numpy())
            frames.append((rows.filter(pl.Series(count)), each.changed))
    return frames


def last_of_each(values: npt.NDArray[Any]) -> Int64s:
    """Return the position of each value's last occurrence, in the order of the values."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ends = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=ends[:-1])
    last: Int64s = order[ends]
    return last


class Sharded(Protocol):
    """What has rows of shards; all that it gives is made of builtins."""

    @property
    def changed(self) -> int:
        """How many rows are new or changed since `settle`."""

    def head(self) -> dict[str, Any]:
        """Return what is no row, at an epoch's end."""

    def changes(self) -> dict[str, Any]:
        """Return the rows that are new or changed since `settle`."""

    def shard(self, shard: int) -> dict[str, Any]:
        """Return all rows of a shard."""

    def settle(self) -> None:
        """Let nothing count as changed."""

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before; of a row that comes more than once the last counts."""


class Composite(ABC):
    """What has rows of shards in several members, by name."""

    READS: ClassVar[tuple[int, ...]] = ()
    """The earlier versions of the state that `load` makes one of today of."""

    @property
    @abstractmethod
    def members(self) -> Mapping[str, Sharded]:
        """The members."""

    @property
    def changed(self) -> int:
        """How many rows are new or changed since `settle`."""
        return sum(member.changed for member in self.members.values())

    def head(self) -> dict[str, Any]:
        """Return what is no row, as builtins, at an epoch's end."""
        return {name: member.head() for name, member in self.members.items()}

    def changes(self) -> dict[str, Any]:
        """Return the rows that are new or changed since `settle`, as builtins."""
        return {name: member.changes() for name, member in self.members.items()}

    def shard(self, shard: int) -> dict[str, Any]:
        """Return all rows of a shard, as builtins."""
        return {name: member.shard(shard) for name, member in self.members.items()}

    def settle(self) -> None:
        """Let nothing count as changed."""
        for member in self.members.values():
            member.settle()

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before."""
        for name, member in self.members.items():
            member.load(head[name], [rows.of(name) for rows in found])

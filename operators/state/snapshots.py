"""Snapshots: when which rows of a state are written, so that a snapshot costs what has changed."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from operators.state.shards import SHARDS, Rows, Sharded


class State(Sharded, Protocol):
    """A state that a step works on."""

    VERSION: ClassVar[int]
    READS: ClassVar[tuple[int, ...]]

    @property
    def rows(self) -> int:
        """How many rows there are."""


S = TypeVar("S", bound=State)


class IncrementalSnapshots(Generic[S]):
    """A state and what is written of it when.

    Entry n = 1, 2, … holds the rows changed since entry n - 1, and all rows of one shard: the
    shard whose own entry is the oldest, which it replaces. The head, written in every epoch,
    holds the rows changed since the newest entry. So the head and one entry for each shard make
    the state: its shard's rows as of the entry, and what the later entries and the head changed.

    An entry is written when the heads since the last one have come to as many rows as a shard
    has. Of N rows and n changed in an epoch about √(2·N·n / SHARDS) + n are so written in each,
    and never much more than N / SHARDS + n.
    """

    def __init__(self, state: S, head: Mapping[str, Any] | None = None) -> None:
        """`state` is empty; `head` that of a resume, which `resume` completes.

        Raises ValueError for one of an unknown version.
        """
        if head is not None and head["version"] not in (state.VERSION, *state.READS):
            raise ValueError(f"{type(state).__name__} of state version {head['version']}")
        self.state = state
        self._head = head
        self._numbers = [0] * SHARDS
        self._turn: int | None = None
        self._newest = 0
        self._begun = False
        self._epochs = self._written = 0

    def resume(self, entries: Mapping[int, Mapping[str, Any]]) -> None:
        """Take up the entries by shard; raises ValueError if they do not belong to the head."""
        head, self._head = self._head, None
        if head is None:
            if entries:
                raise ValueError("there is a kept state without the state that works on it")
            return
        # The number of the newest entry that has a shard in full, by shard.
        full = np.zeros(SHARDS, np.int64)
        for shard, entry in entries.items():
            self._numbers[shard] = entry["number"]
            at = list(entry["parts"])
            full[at] = np.maximum(full[at], entry["number"])
        self._newest = max(head["number"], *self._numbers)
        missing = set(range(int(full.min()) + 1, self._newest + 1)) - set(self._numbers)
        if missing:
            raise ValueError(f"{len(missing)} entries of a kept state are missing")
        found = []
        for entry in sorted(entries.values(), key=lambda entry: entry["number"]):
            # An upgrade's state has entries of the release before until each shard was written.
            made = partial(Rows, changed=False, version=entry.get("version", 0))
            found.append(made(entry["changes"], full < entry["number"]))
            found += [made(rows, full == entry["number"]) for rows in entry["parts"].values()]
        # At the end of the input the entries may be written behind the head, with its changes.
        if head["changes"] is not None and head["number"] == self._newest:
            every = np.ones(SHARDS, bool)
            found.append(Rows(head["changes"], every, changed=True, version=head["version"]))
        self.state.load(head, found)

    def turn(self) -> int | None:
        """Return the shard that is to be written in this epoch, if any, once; before its rows."""
        if self._begun:
            return None
        if self._turn is not None:
            raise RuntimeError("an entry was not written in its epoch")
        self._begun = True
        self._epochs += 1
        if self._written * SHARDS <= self.state.rows:
            return None
        self._turn = self._numbers.index(min(self._numbers))
        return self._turn

    def head(self) -> dict[str, Any]:
        """Return what is written in every epoch, at its end."""
        self._begun = False
        head = {"version": self.state.VERSION, "number": self._newest, **self.state.head()}
        if self._turn is not None:
            # This epoch's entry, which is still to be written, has the changes.
            return head | {"number": self._newest + 1, "changes": None}
        self._written += self.state.changed
        return head | {"changes": self.state.changes()}

    def entry(self, shard: int) -> dict[str, Any]:
        """Return the next entry, with all rows of a shard, at an epoch's end.

        At the end of the input Bytewax asks for an entry of every shard that has one already,
        in any order. They replace what the shards without one would still need, and so have
        those in full too.
        """
        # What a head would have held, had there been no entry in this epoch.
        self._written = self.state.changed // max(self._epochs, 1)
        self._epochs = 0
        self._newest += 1
        self._numbers[shard] = self._newest
        shards = [shard]
        if shard == self._turn:
            self._turn = None
        else:
            shards += [other for other, number in enumerate(self._numbers) if number == 0]
        entry = {
            "version": self.state.VERSION,
            "number": self._newest,
            "changes": self.state.changes(),
            "parts": {each: self.state.shard(each) for each in shards},
        }
        self.state.settle()
        return entry

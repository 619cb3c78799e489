"""Kept: when which rows of a state are written, so that a snapshot costs what has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from operators.hashing import UInt64s

PARTS: Final = 16
"""How many parts a state's rows are of; fixed for the life of a recovery store."""

_WIDTH: Final = 2**64 // PARTS


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as a state has once given them, for it to take them up again.

    Those count whose part is true in `parts`, shape (PARTS,). `changed` are rows that no entry
    has yet.
    """

    rows: Mapping[str, Any]
    parts: npt.NDArray[np.bool_]
    changed: bool


class Divided(Protocol):
    """A state whose rows are of parts; all that it gives is made of builtins."""

    VERSION: ClassVar[int]

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def changed(self) -> int:
        """How many rows are new or changed since `settle`."""

    def head(self) -> dict[str, Any]:
        """Return what is no row."""

    def changes(self) -> dict[str, Any]:
        """Return the rows that are new or changed since `settle`."""

    def part(self, part: int) -> dict[str, Any]:
        """Return all rows of a part."""

    def settle(self) -> None:
        """Let nothing count as changed."""

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before; of a row that comes more than once the last counts."""


def span_of_part(keys: UInt64s, part: int) -> slice:
    """Return where the sorted hashes of a part stand: those with the same highest bits."""
    first, last = np.uint64(part * _WIDTH), np.uint64((part + 1) * _WIDTH - 1)
    return slice(int(np.searchsorted(keys, first)), int(np.searchsorted(keys, last, "right")))


def gather(
    found: Sequence[Rows], types: Mapping[str, type[np.generic]]
) -> dict[str, npt.NDArray[Any]]:
    """Return the rows that count, in order: each column of bytes as one array, and "changed".

    Among the columns is "keys", whose hashes tell the part as in `span_of_part`.
    """
    made: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (*types, "changed")}
    for each in found:
        keys = np.frombuffer(each.rows["keys"], np.uint64)
        kept = np.flatnonzero(each.parts[(keys // np.uint64(_WIDTH)).astype(np.intp)])
        for name, dtype in types.items():
            made[name].append(np.frombuffer(each.rows[name], dtype)[kept])
        made["changed"].append(np.full(len(kept), each.changed))
    return {
        name: np.concatenate(arrays) if arrays else np.empty(0, types.get(name, np.bool_))
        for name, arrays in made.items()
    }


S = TypeVar("S", bound=Divided)


class Kept(Generic[S]):
    """A state and what is written of it when.

    Entry n = 1, 2, … holds the rows changed since entry n - 1, and all rows of one part: the
    part whose own entry is the oldest, which it replaces. The head, written in every epoch,
    holds the rows changed since the newest entry. So the head and one entry for each part make
    the state: its part's rows as of the entry, and what the later entries and the head changed.

    An entry is written when the heads since the last one have come to as many rows as a part
    has. Of N rows and n changed in an epoch about √(2·N·n / PARTS) + n are so written in each,
    and never much more than N / PARTS + n.
    """

    def __init__(self, state: S, head: Mapping[str, Any] | None = None) -> None:
        """`state` is empty; `head` that of a resume, which `resume` completes.

        Raises ValueError for one of an unknown version.
        """
        if head is not None and head["version"] != state.VERSION:
            raise ValueError(f"{type(state).__name__} of state version {head['version']}")
        self.state = state
        self._head = head
        self._numbers = [0] * PARTS
        self._newest = 0
        self._begun = self._writing = False
        self._epochs = self._written = 0

    def resume(self, entries: Mapping[int, Mapping[str, Any]]) -> None:
        """Take up the entries by part; raises ValueError if they do not belong to the head."""
        head, self._head = self._head, None
        if head is None:
            if entries:
                raise ValueError("there is a kept state without the state that works on it")
            return
        for part, entry in entries.items():
            self._numbers[part] = entry["number"]
        self._newest = max(head["number"], *self._numbers)
        changes = {entry["number"]: entry["changes"] for entry in entries.values()}
        missing = set(range(min(self._numbers) + 1, self._newest + 1)) - set(changes)
        if missing:
            raise ValueError(f"{len(missing)} entries of a kept state are missing")
        numbers, everywhere = np.array(self._numbers), np.ones(PARTS, bool)
        found = []
        for entry in sorted(entries.values(), key=lambda entry: entry["number"]):
            found.append(Rows(entry["changes"], numbers < entry["number"], changed=False))
            found.append(Rows(entry["part"], everywhere, changed=False))
        # At the end of the input the entries may be written behind the head, with its changes.
        if head["changes"] is not None and head["number"] == self._newest:
            found.append(Rows(head["changes"], everywhere, changed=True))
        self.state.load(head, found)

    def turn(self) -> int | None:
        """Return the part that is to be written in this epoch, if any, once; before its rows."""
        if self._begun:
            return None
        if self._writing:
            raise RuntimeError("an entry was not written in its epoch")
        self._begun = True
        self._epochs += 1
        if self._written * PARTS <= self.state.rows:
            return None
        self._writing = True
        return self._numbers.index(min(self._numbers))

    def head(self) -> dict[str, Any]:
        """Return what is written in every epoch, at its end."""
        self._begun = False
        head = {"version": self.state.VERSION, "number": self._newest, **self.state.head()}
        if self._writing:
            # This epoch's entry, which is still to be written, has the changes.
            return head | {"number": self._newest + 1, "changes": None}
        self._written += self.state.changed
        return head | {"changes": self.state.changes()}

    def entry(self, part: int) -> dict[str, Any]:
        """Return the next entry, with all rows of a part, at an epoch's end."""
        # What a head would have held, had there been no entry in this epoch.
        self._written = self.state.changed // max(self._epochs, 1)
        self._newest += 1
        self._numbers[part] = self._newest
        self._epochs, self._writing = 0, False
        entry = {
            "number": self._newest,
            "changes": self.state.changes(),
            "part": self.state.part(part),
        }
        self.state.settle()
        return entry

"""Pieces: rows that are kept as they came, each of which is encoded once.

A snapshot has all of them, though most were in the one before:

>>> pieces = Pieces()
>>> pieces.add(pl.DataFrame({"n": [1, 2]}))
>>> from_ipc(pieces.dump())["n"].to_list()
[1, 2]
>>> pieces.add(pl.DataFrame({"n": [3]}))
>>> from_ipc(pieces.dump())["n"].to_list()
[1, 2, 3]
>>> [rows["n"].to_list() for rows in pieces.take(lambda rows: rows["n"].to_numpy() != 2)]
[[1], [3]]
>>> from_ipc(pieces.dump())["n"].to_list()
[2]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Self, TypeAlias

import numpy as np
import polars as pl

from operators.columns.arrays import Bools
from operators.columns.frames import in_one, stacked, taken
from operators.columns.ipc import from_ipc, joined, to_ipc

Frame: TypeAlias = pl.DataFrame | None
Wanted: TypeAlias = Callable[[pl.DataFrame], Bools]

_FEW: Final = 64
"""Frames that are put together as they come, so that an epoch's end has not a thousand of them."""

_MANY: Final = 1_024
"""Rows that are worth encoding by themselves."""


@dataclass(slots=True)
class _Piece:
    """Rows in one frame, whether it holds nothing else, and how it is written, once it is."""

    rows: pl.DataFrame
    own: bool = False
    written: bytes | None = None

    def ipc(self) -> bytes | None:
        if self.written is None:
            if not self.own:
                self.rows, self.own = in_one([self.rows]), True
            self.written = to_ipc(self.rows)
        return self.written


class Pieces:
    """Frames with equal columns, in their order."""

    def __init__(self, *frames: pl.DataFrame, columns: Sequence[str] | None = None) -> None:
        """Begin with frames that hold on to nothing but their rows.

        Of what comes only `columns` are kept, if any are told. They are picked where frames are
        put together, as picking them from each would take longer than all else.
        """
        self._columns = columns
        self._pieces = [_Piece(frame, own=True) for frame in frames if frame.height]
        self._loose = 0
        self.height = sum(piece.rows.height for piece in self._pieces)
        """How many rows there are."""
        self._fresh = self.height

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All rows, in as many frames as there are."""
        return [piece.rows for piece in self._pieces]

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows."""
        self._pieces.append(_Piece(rows))
        self.height += rows.height
        self._fresh += rows.height
        self._loose += 1

    def ahead(self) -> None:
        """Encode what there is enough of, for rows that are likely to be there at a snapshot.

        That comes at an epoch's end, at which everything waits.
        """
        if self._fresh >= _MANY or self._loose >= _FEW:
            self._encode()

    def _encode(self) -> None:
        self._put_together()
        for piece in self._pieces:
            piece.ipc()
        self._fresh = 0

    def _put_together(self) -> None:
        last = self._last()
        if last is not None:
            self._pieces.append(_Piece(in_one([last]), own=True))

    def _last(self) -> Frame:
        """Take out the rows that came last, in loose frames."""
        if not self._loose:
            return None
        last = stacked([piece.rows for piece in self._pieces[-self._loose :]])
        del self._pieces[-self._loose :]
        self._loose = 0
        return last if self._columns is None else last[list(self._columns)]

    def take_all(self) -> Frame:
        """Take out all rows."""
        last = self._last()
        frames = self.frames if last is None else [*self.frames, last]
        self._pieces, self.height, self._fresh = [], 0, 0
        return stacked(frames) if frames else None

    def picked(self, wanted: Wanted) -> list[pl.DataFrame]:
        """Return the rows that are wanted."""
        found = (_split(piece.rows, wanted(piece.rows))[1] for piece in self._pieces)
        return [rows for rows in found if rows is not None]

    def take(self, wanted: Wanted) -> list[pl.DataFrame]:
        """Take out the rows that are wanted."""
        pieces, self._pieces, found = self._pieces, [], []
        for piece in pieces:
            rest, some = _split(piece.rows, wanted(piece.rows))
            if some is not None:
                found.append(some)
            if rest is not None:
                self._pieces.append(piece if some is None else _Piece(rest))
        self._loose = sum(1 for _ in takewhile(lambda piece: not piece.own, self._pieces[::-1]))
        self.height -= sum(rows.height for rows in found)
        self._fresh = sum(each.rows.height for each in self._pieces if each.written is None)
        return found

    def dump(self) -> bytes | None:
        """Return all rows as `to_ipc` does."""
        self._encode()
        return joined([written for piece in self._pieces if (written := piece.ipc())])

    @classmethod
    def load(cls, state: bytes | None, columns: Sequence[str] | None = None) -> Self:
        """Resume what was dumped."""
        return cls(*([] if state is None else [from_ipc(state)]), columns=columns)


class Written:
    """How one frame is written, for a state that has the same one in many snapshots."""

    def __init__(self) -> None:
        self._frame: Frame = None
        self._state: bytes | None = None

    def dump(self, frame: Frame) -> tuple[Frame, bytes | None]:
        """Return a frame without what it holds of batches, and all its rows as `to_ipc` does.

        Who gives that one back the next time is given the same.
        """
        if frame is not self._frame:
            self._frame = None if frame is None else in_one([frame])
            self._state = to_ipc(self._frame)
        return self._frame, self._state


def _split(frame: pl.DataFrame, mask: Bools) -> tuple[Frame, Frame]:
    """Return the rows that a mask leaves out, and those that it picks; None for no row."""
    if mask.all():
        return None, frame
    if not mask.any():
        return frame, None
    return taken(frame, np.flatnonzero(~mask)), taken(frame, np.flatnonzero(mask))

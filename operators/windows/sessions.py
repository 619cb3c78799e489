"""Sessions: a key's records less than a gap apart, found among the slices."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.windows.counting import Spans
from operators.windows.emission import ENDS, SESSION, Due
from operators.windows.pieces import Frame, Written
from operators.windows.session_chains import (
    both,
    height,
    lay_out,
    merge_shared,
    parted,
    told,
)
from operators.windows.slices import Slices, loaded
from operators.windows.spec import Windows

_MERGED_MIN: Final = 8_192


class Sessions:
    """The open sessions of a key group that are emitted once; one that closes leaves nothing.

    The records of a key in one slice are less than the gap apart, and so in one session. A
    slice is looked at when it is complete; a session is closed when the next gap of slices
    after it is. What is of complete slices and open sessions stays as it came, and what shares a
    session is merged to one partial as it grows.
    """

    VERSION: Final = 4

    def __init__(self, windows: Windows) -> None:
        self._windows, self._window = windows, windows.session
        self._store = Slices({**windows.over, **ENDS}, windows.by, ["slice"])
        self._rows: Frame = None
        self._open: Frame = None
        self._rows_written, self._open_written = Written(), Written()
        self._merge_at = _MERGED_MIN

    @property
    def rows(self) -> int:
        """How many rows, partials and open sessions are kept."""
        return self._store.rows + height(self._rows) + height(self._open)

    @property
    def spans(self) -> Spans:
        """The sessions that have not closed."""
        frames = [frame for frame in (self._rows, self._open) if frame is not None]
        return Spans.of(self._windows, [*frames, *self._store.frames])

    def advance(self, rows: Frame, watermark: int | None) -> Due | None:
        """Take rows; return what the sessions that are closed at a watermark in µs are of."""
        if rows is not None:
            self._store.add(rows[[name for name in rows.columns if name != "since"]])
        if watermark is None:
            self._store.ahead()
            return None
        complete = watermark // self._window.step * self._window.step
        fresh, partials = self._store.take(lambda slices: slices < complete)
        self._rows = both(self._rows, fresh)
        self._open = both(self._open, partials)
        if self._rows is None and self._open is None:
            return None
        return self._closed(complete)

    def _closed(self, complete: int) -> Due | None:
        """Take out what is of the sessions that end a gap before `complete`, in µs."""
        session, last, slices = self._sessions()
        over = (last + self._window.gap <= complete)[session]
        split = height(self._open)
        parts = []
        for frame, at in ((self._rows, slice(split, None)), (self._open, slice(split))):
            kept, taken = parted(frame, over[at])
            if taken is not None:
                taken = told(taken, session[at][over[at]])
            parts.append((kept, taken))
        (self._rows, rows), (self._open, partials) = parts
        if height(self._open) + height(self._rows) > self._merge_at:
            self._merge_shared(session[~over], slices)
        if rows is None and partials is None:
            return None
        return Due(rows, partials, self._store.made)

    def _sessions(self) -> tuple[Int64s, Int64s, Int64s]:
        """Return which session each open partial and then each row is of.

        And per session its last time and slice, in µs.
        """
        frames = [frame for frame in (self._open, self._rows) if frame is not None]
        laid = lay_out(frames, self._windows.by, self._window.step)
        # Of one key and slice all is of one session; slices lie behind each other.
        new_slice = laid.new_key | (np.diff(laid.slices, prepend=-1) != 0)
        at = np.flatnonzero(new_slice)
        first = np.minimum.reduceat(laid.first, at)
        last = np.maximum.reduceat(laid.last, at)
        begins = laid.new_key[at]
        begins[1:] |= first[1:] - last[:-1] >= self._window.gap
        session = np.empty(len(laid.order), np.int64)
        sizes = np.diff(np.append(at, len(laid.order)))
        session[laid.order] = np.repeat(np.cumsum(begins) - 1, sizes)
        heads = np.flatnonzero(begins)
        return (
            session,
            np.maximum.reduceat(last, heads),
            np.maximum.reduceat(laid.slices[at], heads),
        )

    def _merge_shared(self, session: Int64s, slices: Int64s) -> None:
        """Merge what shares a session to one partial; what is alone in one stays as it is.

        `session` is that of each open partial and each row, `slices` are the sessions' last ones.
        """
        self._open, self._rows, merged = merge_shared(
            self._store, self._open, self._rows, session
        )
        if merged is not None:
            place = pl.Series("slice", slices[merged[SESSION].to_numpy()])
            self._open = both(self._open, merged.drop(SESSION).hstack([place]))
        self._merge_at = max(_MERGED_MIN, 2 * (height(self._open) + height(self._rows)))

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        self._rows, rows = self._rows_written.dump(self._rows)
        self._open, opened = self._open_written.dump(self._open)
        return {
            "version": self.VERSION,
            "complete": rows,
            "open": opened,
            **self._store.dump(),
        }

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"sessions of state version {state['version']}")
        sessions = cls(windows)
        sessions._store.load(state)
        sessions._rows = loaded(state["complete"])
        sessions._open = sessions._store.restored(loaded(state["open"]))
        return sessions

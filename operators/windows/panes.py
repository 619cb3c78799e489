"""Panes: the slices of tumbling and sliding windows, until no pane needs them."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.records.batches import NO_WATERMARK
from operators.windows.counting import Spans
from operators.windows.emission import Due
from operators.windows.pieces import Frame
from operators.windows.session_chains import both
from operators.windows.slices import Slices
from operators.windows.sliding_panes import AFTER, UNTIL
from operators.windows.spec import Windows

_PLACED: Final = ("slice", "since")


class Panes:
    """The slices of one slot of a key group, until the last window that holds them is final."""

    VERSION: Final = 3

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._store = Slices(windows.over, windows.by, _PLACED)
        self._done = NO_WATERMARK

    @property
    def rows(self) -> int:
        """How many rows and partials are kept."""
        return self._store.rows

    @property
    def spans(self) -> Spans:
        """The windows that may have a pane yet."""
        return Spans.of(self._windows, self._store.frames, self._done)

    def advance(self, rows: Frame, watermark: int | None) -> Due | None:
        """Take rows; return what the panes that are due at a watermark in µs are made of."""
        if rows is not None:
            self._store.add(rows)
        if watermark is None:
            self._store.ahead()
            return None
        due = self._store.take(lambda slices: self._final(slices) <= watermark)
        # Where a window has one slice and one pane, nothing of it is needed again.
        if not self._windows.whole:
            ripe = self._store.select(lambda slices: self._ripe(slices) <= watermark)
            rows, partials = (both(*frames) for frames in zip(due, ripe, strict=True))
            due = self._between(rows, watermark), self._between(partials, watermark)
            self._done = watermark
        made = Due(*due, self._store.made)
        return None if made.rows is None and made.partials is None else made

    def _ripe(self, slices: Int64s) -> Int64s:
        """Return when the first pane of each slice's first window is due."""
        return self._windows.first_start(slices) + self._windows.panes[0][1]

    def _final(self, slices: Int64s) -> Int64s:
        """Return when the last pane of each slice's last window is due."""
        return self._windows.last_start(slices) + self._windows.panes[-1][1]

    def _between(self, frame: Frame, watermark: int) -> Frame:
        if frame is None:
            return None
        marks = {AFTER: self._done, UNTIL: watermark}
        return frame.hstack(
            [pl.Series(name, np.full(frame.height, at)) for name, at in marks.items()]
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        return {"version": self.VERSION, "done": self._done, **self._store.dump()}

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"panes of state version {state['version']}")
        panes = cls(windows)
        panes._done = state["done"]
        panes._store.load(state)
        return panes

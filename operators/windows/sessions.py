"""Sessions: a key's records less than a gap apart, put together from slices."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.windows import agg
from operators.windows.partials import HASH
from operators.windows.spec import Windows
from operators.windows.store import Frame, Store, from_ipc, to_ipc

_FIRST: Final = "min event_time"
_LAST: Final = "max event_time"
_ENDS: Final = {
    "_first": agg.min("event_time"),
    "_last": agg.max("event_time"),
}


class Sessions:
    """The open sessions of a key group; one that closes leaves nothing behind.

    The records of a key in one slice are less than the gap apart, so a slice has one partial
    per key, and a session is a chain of them. A slice is chained when it is complete, and a
    session closed when the next gap of slices after it is.
    """

    VERSION: Final = 1

    def __init__(self, windows: Windows) -> None:
        self._windows, self._window = windows, windows.session
        self._store = Store({**windows.aggregates, **_ENDS}, windows.by, ["slice"])
        self._open: Frame = None

    @property
    def rows(self) -> int:
        """How many rows, partials and open sessions are kept."""
        return self._store.rows + (0 if self._open is None else self._open.height)

    def advance(self, rows: Frame, watermark: int | None) -> Frame:
        """Take rows; return the sessions that are closed at a watermark in µs, in no order.

        They have the columns of `Panes.advance`, `window_start` the first record's time and
        `window_end` the last one's plus the gap.
        """
        if rows is not None:
            self._store.add(rows.drop("since"))
        if watermark is None:
            return None
        step, lateness = self._window.step, self._windows.lateness
        complete = (watermark - lateness) // step * step
        ready = self._store.take(lambda slices: slices < complete, ["slice"])
        if ready is not None:
            self._open = self._chained(ready.sort("slice"))
        if self._open is None:
            return None
        over = pl.col(_LAST).to_physical() + self._window.gap <= complete
        closed = self._open.filter(over)
        if closed.height == 0:
            return None
        rest = self._open.filter(~over)
        self._open = rest if rest.height else None
        return self._panes(closed)

    def _chained(self, ready: pl.DataFrame) -> pl.DataFrame:
        """Return the open sessions with partials of complete slices chained to them.

        `ready` is in the order of slices, and all of it is behind the open sessions.
        """
        by = list(self._windows.by)
        ready = ready.drop("slice")
        if self._open is not None:
            ready = pl.concat([self._open, ready.select(self._open.columns)])
        frame, same = self._in_order(ready)
        first, last = (frame[name].to_physical().to_numpy() for name in (_FIRST, _LAST))
        starts = np.ones(frame.height, bool)
        starts[1:] = ~same | (first[1:] - last[:-1] >= self._window.gap)
        at = np.flatnonzero(starts)
        sizes = np.diff(np.append(at, frame.height))
        if (sizes == 1).all():
            return frame
        several = np.repeat(sizes > 1, sizes)
        session = np.repeat(np.arange(len(at)), sizes)[several]
        chains = frame.filter(pl.Series(several)).with_columns(pl.Series("session", session))
        merged = self._store.math(chains.schema).chain(chains, ["session"]).sort("session")
        keys = frame[at[sizes > 1]].select(by)
        merged = merged.hstack(keys).select(frame.columns)
        return pl.concat([frame.filter(pl.Series(~several)), merged])

    def _in_order(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Any]:
        """Sort by key and time; tell which rows from the second on have the key before them."""
        by = list(self._windows.by)
        order = np.argsort(frame[HASH].to_numpy(), kind="stable")
        ordered = frame[order]
        same, hashes = _repeated(ordered, by), ordered[HASH].to_numpy()
        if (~same & (hashes[1:] == hashes[:-1])).any():
            # Two keys share a hash, and their rows lie between each other's.
            ordered = frame.sort(*by, _FIRST)
            same = _repeated(ordered, by)
        return ordered, same

    def _panes(self, closed: pl.DataFrame) -> pl.DataFrame:
        values = self._store.math(closed.schema).finish(closed)
        end = pl.col(_LAST).to_physical() + self._window.gap
        step = self._window.step
        return closed.select(
            *self._windows.by,
            pl.col(_FIRST).to_physical().alias("window_start"),
            end.alias("window_end"),
            pl.lit(0, pl.Int32).alias("revision"),
            *values[: len(self._windows.aggregates)],
            (-(-end // step) * step + self._windows.lateness).alias("closes"),
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        return {"version": self.VERSION, "open": to_ipc(self._open), **self._store.dump()}

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"sessions of state version {state['version']}")
        sessions = cls(windows)
        sessions._store.load(state)
        sessions._open = sessions._store.restored(from_ipc(state["open"]))
        return sessions


def _repeated(frame: pl.DataFrame, by: list[str]) -> Any:
    same = np.ones(max(frame.height - 1, 0), bool)
    for name in by:
        column = frame[name]
        same &= column[1:].eq_missing(column[:-1]).to_numpy()
    return same

"""Sessions: a key's records less than a gap apart, found among the slices."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.batches import Int64s
from operators.windows.closing import ENDS, FIRST, LAST, SESSION, Due
from operators.windows.partials import HASH
from operators.windows.spec import Windows
from operators.windows.store import Frame, Store, from_ipc, to_ipc

_ROWS_MIN: Final = 8_192
_ROWS_MAX: Final = 131_072
_CHAINS_MIN: Final = 1_024
_NUMBER_BITS: Final = 20


class Sessions:
    """The open sessions of a key group; one that closes leaves nothing behind.

    The records of a key in one slice are less than the gap apart, and so in one session. A
    slice is looked at when it is complete; a session is closed when the next gap of slices
    after it is. What is of complete slices and open sessions stays as it came, and is merged
    to one partial a session as it grows.
    """

    VERSION: Final = 2

    def __init__(self, windows: Windows) -> None:
        self._windows, self._window = windows, windows.session
        self._store = Store({**windows.aggregates, **ENDS}, windows.by, ["slice"])
        self._rows: Frame = None
        self._open: Frame = None
        self._rows_most = _ROWS_MIN
        self._merge_at = _CHAINS_MIN

    @property
    def rows(self) -> int:
        """How many rows, partials and open sessions are kept."""
        return self._store.rows + _height(self._rows) + _height(self._open)

    def advance(self, rows: Frame, watermark: int | None) -> Due | None:
        """Take rows; return what the sessions that are closed at a watermark in µs are of."""
        if rows is not None:
            self._store.add(rows.drop("since"))
        if watermark is None:
            return None
        step, lateness = self._window.step, self._windows.lateness
        complete = (watermark - lateness) // step * step
        fresh, partials = self._store.take(lambda slices: slices < complete)
        self._rows = _both(self._rows, fresh)
        self._open = _both(self._open, partials)
        if _height(self._rows) > self._rows_most:
            self._reduce_rows()
        if self._rows is None and self._open is None:
            return None
        return self._closed(complete)

    def _reduce_rows(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            made = self._store.math(rows.schema).reduce(rows, ["slice"])
            self._open = _both(self._open, made)
            shared = made.height < rows.height // 2
            self._rows_most = _ROWS_MIN if shared else min(2 * self._rows_most, _ROWS_MAX)

    def _closed(self, complete: int) -> Due | None:
        """Take out what is of the sessions that end a gap before `complete`, in µs."""
        session, last, _ = self._sessions()
        over = (last + self._window.gap <= complete)[session]
        split = _height(self._open)
        parts = []
        for frame, at in ((self._rows, slice(split, None)), (self._open, slice(split))):
            parts.append(_parted(frame, over[at], session[at]))
        (self._rows, rows), (self._open, partials) = parts
        if _height(self._open) > self._merge_at:
            self._merge_chains()
        if rows is None and partials is None:
            return None
        return Due(rows, partials, self._store.made)

    def _sessions(self) -> tuple[Int64s, Int64s, Int64s]:
        """Return which session each open partial and then each row is of.

        And per session its last time and slice, in µs.
        """
        frames = [frame for frame in (self._open, self._rows) if frame is not None]
        hashes = np.concatenate([frame[HASH].to_numpy() for frame in frames])
        slices = np.concatenate([frame["slice"].to_numpy() for frame in frames])
        ends = []
        for name in (FIRST, LAST):
            ends.append(np.concatenate([
                frame[name if name in frame.columns else "event_time"].to_physical().to_numpy()
                for frame in frames
            ]))  # fmt: skip
        by = [pl.concat([frame[name] for frame in frames]) for name in self._windows.by]
        order = _order(hashes, slices // self._window.step)
        new_key = _changes(by, hashes, order)
        if new_key is None:
            ranks = pl.struct(pl.DataFrame(by), eager=True).rank("dense").to_numpy()
            order = np.lexsort((slices, ranks))
            new_key = np.diff(ranks[order], prepend=-1) != 0
        # Of one key and slice all is of one session; slices lie behind each other.
        new_slice = new_key | (np.diff(slices[order], prepend=-1) != 0)
        at = np.flatnonzero(new_slice)
        first = np.minimum.reduceat(ends[0][order], at)
        last = np.maximum.reduceat(ends[1][order], at)
        begins = new_key[at]
        begins[1:] |= first[1:] - last[:-1] >= self._window.gap
        session = np.empty(len(order), np.int64)
        sizes = np.diff(np.append(at, len(order)))
        session[order] = np.repeat(np.cumsum(begins) - 1, sizes)
        heads = np.flatnonzero(begins)
        return (
            session,
            np.maximum.reduceat(last, heads),
            np.maximum.reduceat(slices[order][at], heads),
        )

    def _merge_chains(self) -> None:
        """Merge what is open to one partial a session."""
        self._reduce_rows()
        open_, math = self._open, self._store.made
        if open_ is None or math is None:
            return
        session, _, slices = self._sessions()
        merged = math.merge(open_.hstack([pl.Series(SESSION, session)]), [SESSION])
        slices = slices[merged[SESSION].to_numpy()]
        self._open = merged.drop(SESSION).hstack([pl.Series("slice", slices)])
        self._merge_at = max(_CHAINS_MIN, 2 * merged.height)

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        return {
            "version": self.VERSION,
            "complete": to_ipc(self._rows),
            "open": to_ipc(self._open),
            **self._store.dump(),
        }

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"sessions of state version {state['version']}")
        sessions = cls(windows)
        sessions._store.load(state)
        sessions._rows = from_ipc(state["complete"])
        sessions._open = sessions._store.restored(from_ipc(state["open"]))
        return sessions


def _order(hashes: npt.NDArray[np.uint64], numbers: Int64s) -> npt.NDArray[np.int64]:
    """Return the order by hash, then by slice; keys with hashes alike may be mixed up."""
    numbers = numbers - numbers.min()
    if numbers.max() >> _NUMBER_BITS:
        return np.lexsort((numbers, hashes))
    # One number to sort by is ten times as fast as two.
    low = np.uint64((1 << _NUMBER_BITS) - 1)
    return np.argsort(hashes & ~low | numbers.view(np.uint64))


def _changes(
    by: list[pl.Series], hashes: npt.NDArray[np.uint64], order: Int64s
) -> npt.NDArray[np.bool_] | None:
    """Tell which rows, in order, have another key than the one before them.

    None if two keys share a hash, or all of it that `_order` looks at: then their rows may
    lie between each other's.
    """
    ordered = hashes[order]
    changes = np.ones(len(order), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    high = ordered >> np.uint64(_NUMBER_BITS)
    if (changes[1:] & (high[1:] == high[:-1])).any():
        return None
    again = np.flatnonzero(~changes)
    for column in by:
        if not column[order[again]].eq_missing(column[order[again - 1]]).all():
            return None
    return changes


def _parted(frame: Frame, over: npt.NDArray[np.bool_], session: Int64s) -> tuple[Frame, Frame]:
    """Return what of a frame stays, and what is over, with its session."""
    if frame is None or not over.any():
        return frame, None
    sessions = pl.Series(SESSION, session[over])
    if over.all():
        return None, frame.hstack([sessions])
    kept, taken = np.flatnonzero(~over), np.flatnonzero(over)
    return frame[kept], frame[taken].hstack([sessions])


def _both(one: Frame, other: Frame) -> Frame:
    if one is None or other is None:
        return other if one is None else one
    return pl.concat([one, other[one.columns]])


def _height(frame: Frame) -> int:
    return 0 if frame is None else frame.height

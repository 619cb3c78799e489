"""Sessions that are emitted again: early panes, and revisions within the lateness.

A gap of 10 and a lateness of 30, records of one key in order of arrival:

| at | the watermark then | emitted: start, end, revision, records |
|---|---|---|
| 0, 4 | 4 | |
| 29 | 20 | 0, 14, revision 0, 2 |
| 11 | 31 | 0, 21, revision 1, 3: a late record made the session longer |
| 20 | 45 | 0, 39, revision 2, 5: another joins it with that of 29 |

`session_panes` works out what is due, here are the records kept and told which revisions they
had. A session is dropped once no record that counts can be less than a gap away from it.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.records.batches import NO_WATERMARK
from operators.windows.counting import Spans
from operators.windows.emission import CLOSES, ENDS, REVISION, SESSION, Due
from operators.windows.pieces import Frame, Written
from operators.windows.session_chains import (
    both,
    height,
    lay_out,
    merge_shared,
    parted,
)
from operators.windows.session_panes import Held, Known, chained, panes_between
from operators.windows.slices import Slices, loaded
from operators.windows.spec import Windows

_MERGED_MIN: Final = 1_024
_EMITTED: Final = "emitted"
_PLACED: Final = ("slice", "since", _EMITTED)


class RevisedSessions:
    """The sessions of a key group, until no record that counts can change them.

    Records wait until the watermark reaches their `since`. From then on every pane holds them:
    they stay as they came, and are merged to one partial a session as they become many.
    """

    VERSION: Final = 5

    def __init__(self, windows: Windows) -> None:
        self._windows, self._window = windows, windows.session
        aggregates = {**windows.over, **ENDS}
        self._store = Slices(aggregates, windows.by, ["slice", "since"], cut="since")
        self._rows: Frame = None
        self._partials: Frame = None
        self._rows_written, self._partials_written = Written(), Written()
        self._done = NO_WATERMARK
        self._merge_at = _MERGED_MIN

    @property
    def rows(self) -> int:
        """How many rows and partials are kept."""
        return self._store.rows + height(self._rows) + height(self._partials)

    @property
    def spans(self) -> Spans:
        """The sessions that a record may still change, as of all records."""
        return Spans.of(self._windows, [*self._frames(), *self._store.frames])

    def advance(self, rows: Frame, watermark: int | None) -> Due | None:
        """Take rows; return what the panes that are due at a watermark in µs are made of."""
        if rows is not None:
            self._store.add(rows)
        if watermark is None:
            self._store.ahead()
            return None
        until = watermark // self._window.step * self._window.step
        fresh, partials = self._store.take(lambda since: since <= until)
        self._rows = both(self._rows, _never_emitted(fresh))
        self._partials = both(self._partials, _never_emitted(partials))
        after, self._done = self._done, until
        frames = self._frames()
        if not frames:
            return None
        known, order = self._known(frames)
        held = panes_between(self._windows, known, after, until)
        due = None if held is None else self._due(held, order)
        if held is not None:
            self._note(known.emitted, order)
        self._forget(known, order, until - self._windows.lateness)
        return due

    def _frames(self) -> list[pl.DataFrame]:
        return [frame for frame in (self._partials, self._rows) if frame is not None]

    def _known(self, frames: list[pl.DataFrame]) -> tuple[Known, Int64s]:
        """Return what is known, and the place of each in the frames together."""
        laid = lay_out(frames, self._windows.by, self._window.step)
        since, emitted = (
            np.concatenate([frame[name].to_numpy() for frame in frames])[laid.order]
            for name in ("since", _EMITTED)
        )
        ends = laid.slices, laid.first, laid.last
        session = chained(laid.new_key, *ends, self._window.gap)
        return Known(session, *ends, since, emitted), laid.order

    def _due(self, held: Held, order: Int64s) -> Due:
        at, split = order[held.known], height(self._partials)
        rows, partials = (
            _held(frame, held, at - first, mine)
            for frame, first, mine in (
                (self._rows, split, at >= split),
                (self._partials, 0, at < split),
            )
        )
        return Due(rows, partials, self._store.made)

    def _note(self, emitted: Int64s, order: Int64s) -> None:
        """Keep which revisions have been emitted."""
        placed, split = np.empty_like(emitted), height(self._partials)
        placed[order] = emitted
        if self._partials is not None:
            self._partials = self._partials.with_columns(pl.Series(_EMITTED, placed[:split]))
        if self._rows is not None:
            self._rows = self._rows.with_columns(pl.Series(_EMITTED, placed[split:]))

    def _forget(self, known: Known, order: Int64s, before: int) -> None:
        """Drop the sessions that end by `before`, and merge the others if they are many."""
        heads = np.flatnonzero(np.diff(known.session, prepend=-1))
        ends = np.maximum.reduceat(known.last, heads) + self._window.gap
        over, split = np.empty(len(order), bool), height(self._partials)
        over[order] = (ends <= before)[known.session]
        self._partials, _ = parted(self._partials, over[:split])
        self._rows, _ = parted(self._rows, over[split:])
        if height(self._partials) + height(self._rows) > self._merge_at:
            self._merge_shared()

    def _merge_shared(self) -> None:
        """Merge what shares a session to one partial; what is alone in one stays as it is."""
        frames = self._frames()
        if not frames:
            return
        known, order = self._known(frames)
        heads = np.flatnonzero(np.diff(known.session, prepend=-1))
        session = np.empty_like(known.session)
        session[order] = known.session
        self._partials, self._rows, merged = merge_shared(
            self._store, self._partials, self._rows, session
        )
        if merged is not None:
            at = merged[SESSION].to_numpy()
            marks = {
                "slice": known.slices[heads],
                "since": np.maximum.reduceat(known.since, heads),
                _EMITTED: np.maximum.reduceat(known.emitted, heads),
            }
            columns = [pl.Series(name, values[at]) for name, values in marks.items()]
            self._partials = both(self._partials, merged.drop(SESSION).hstack(columns))
        self._merge_at = max(_MERGED_MIN, 2 * (height(self._partials) + height(self._rows)))

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        self._rows, rows = self._rows_written.dump(self._rows)
        self._partials, partials = self._partials_written.dump(self._partials)
        return {
            "version": self.VERSION,
            "done": self._done,
            "known_rows": rows,
            "known_partials": partials,
            **self._store.dump(),
        }

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"sessions of state version {state['version']}")
        sessions = cls(windows)
        sessions._done = state["done"]
        sessions._store.load(state)
        sessions._rows = loaded(state["known_rows"])
        sessions._partials = sessions._store.restored(loaded(state["known_partials"]))
        return sessions


def _never_emitted(frame: Frame) -> Frame:
    return None if frame is None else frame.with_columns(pl.lit(-1, pl.Int64).alias(_EMITTED))


def _held(frame: Frame, held: Held, at: Int64s, mine: Bools) -> Frame:
    """Return what panes hold of a frame: of its rows `at`, for each pair, those that are its."""
    if frame is None or not mine.any():
        return None
    pane = held.pane[mine]
    marks = {SESSION: pane, REVISION: held.revision[pane], CLOSES: held.due[pane]}
    columns = [pl.Series(name, values) for name, values in marks.items()]
    return frame.drop(_PLACED)[at[mine]].hstack(columns)

"""Emission: what key groups have selected as due, aggregated for all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import stacked
from operators.columns.ranges import repeats
from operators.columns.times import in_micros
from operators.windows import agg
from operators.windows.accumulators import Accumulators
from operators.windows.assigners import Session
from operators.windows.pieces import Frame
from operators.windows.sliding_panes import AFTER, UNTIL, Overlap, starts_between
from operators.windows.spec import Windows

SESSION: Final = "session"
REVISION: Final = "revision"
CLOSES: Final = "closes"
FIRST: Final = "min event_time"
LAST: Final = "max event_time"
ENDS: Final = {"_first": agg.min("event_time"), "_last": agg.max("event_time")}
"""What a session needs to know beside its aggregates."""

_AT_ONCE: Final = 1 << 16
"""Of more rows, what is sorted and gathered no longer fits the processor's cache."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a key group has for the panes that are due: records, and partials of records.

    Both have the `by` columns, HASH and Int64 marks: `slice` and `since`; for sliding windows
    AFTER and UNTIL as well, the watermarks in µs between which panes were due; for sessions
    only SESSION, which tells the sessions of one key apart, and REVISION and CLOSES where they
    can be emitted again. `math` made the partials.
    """

    rows: Frame
    partials: Frame
    math: Accumulators | None

    @property
    def height(self) -> int:
        """How many rows and partials there are."""
        return sum(0 if frame is None else frame.height for frame in (self.rows, self.partials))


class Emission:
    """Aggregates what is due in the key groups of a worker, one call for all of them.

    A call of a data frame library costs as much as a thousand rows, so the groups select, and
    this aggregates. It keeps nothing.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        ends = ENDS if isinstance(windows.window, Session) else {}
        self._aggregates = {**windows.over, **ends}
        self._made: Accumulators | None = None
        self._overlap: Overlap | None = None

    def close(self, dues: Sequence[Due]) -> Frame:
        """Return the panes of what is due, in no order; raises InexactError.

        They have the `by` columns, `window_start`, `window_end`, `revision`, the aggregates,
        and `closes`, the time at which a pane was due. Times are Int64, in µs.
        """
        if len(dues) > 1 and sum(due.height for due in dues) > _AT_ONCE:
            middle = len(dues) // 2
            parts = [self.close(dues[:middle]), self.close(dues[middle:])]
            made = [part for part in parts if part is not None]
            return stacked(made) if made else None
        rows = [due.rows for due in dues if due.rows is not None]
        partials = [due.partials for due in dues if due.partials is not None]
        if not rows and not partials:
            return None
        if self._made is None:
            first = next((due.math for due in dues if due.math is not None), None)
            self._made = first or Accumulators(
                self._aggregates, rows[0].schema, self._windows.by
            )
            if Overlap.fits(self._windows, self._made.types.schema):
                self._overlap = Overlap(self._windows, self._made.types.schema)
        math = self._made
        if isinstance(self._windows.window, Session):
            marks = [SESSION] if self._windows.once else [SESSION, REVISION, CLOSES]
            return self._sessions(math, _merged(math, rows, partials, marks))
        if self._windows.whole:
            return self._panes(math, _merged(math, rows, partials, ["slice"]), "slice", 0)
        if self._overlap is not None:
            found = self._overlap.panes(rows, partials)
            if found is not None:
                keys, starts, values = found
                ends = starts + self._windows.sliding.size
                return self._framed(keys, starts, ends, 0, ends, values)
        panes = self._overlapping(
            math, _joined(math, rows, partials, ["slice", "since", AFTER, UNTIL])
        )
        return stacked(panes) if panes else None

    def _overlapping(self, math: Accumulators, kept: pl.DataFrame) -> list[pl.DataFrame]:
        """Return the panes of every window that became due between AFTER and UNTIL."""
        windows, panes, before = self._windows, [], 0
        for place, (revision, due) in enumerate(windows.panes):
            begin, count = starts_between(windows, kept, due)
            at, step = repeats(count)
            if len(at):
                start = begin[at] + step * windows.sliding.every
                rows = kept if (count == 1).all() else kept[at]
                rows = rows.hstack([pl.Series("window_start", start)])
                if revision:
                    rows = self._with_news(rows, due, before)
                if rows.height:
                    merged = math.merge(rows, ["window_start"])
                    panes.append(self._panes(math, merged, "window_start", place))
            before = due
        return panes

    def _with_news(self, rows: pl.DataFrame, due: int, before: int) -> pl.DataFrame:
        """Return the rows of the windows and keys that have some from since the pane before."""
        keys = [*self._windows.by, "window_start"]
        if due == self._windows.panes[0][1]:
            return rows
        news = rows.filter(pl.col("since") > pl.col("window_start") + before).select(keys)
        return rows.join(news, on=keys, how="semi", nulls_equal=True)

    def _panes(
        self, math: Accumulators, partials: pl.DataFrame, start: str, place: int
    ) -> pl.DataFrame:
        revision, due = self._windows.panes[place]
        starts = partials[start].to_numpy()
        ends = starts + self._windows.sliding.size
        return self._framed(
            partials, starts, ends, revision, starts + due, math.finish(partials)
        )

    def _sessions(self, math: Accumulators, partials: pl.DataFrame) -> pl.DataFrame:
        window = self._windows.session
        starts, ends = (in_micros(partials[name]) for name in (FIRST, LAST))
        ends = ends + window.gap
        if self._windows.once:
            revision: int | Int64s = 0
            closes = -(-ends // window.step) * window.step
        else:
            revision, closes = (partials[name].to_numpy() for name in (REVISION, CLOSES))
        return self._framed(partials, starts, ends, revision, closes, math.finish(partials))

    def _framed(
        self,
        keyed: pl.DataFrame,
        starts: Int64s,
        ends: Int64s,
        revision: int | Int64s,
        closes: Int64s,
        values: Sequence[pl.Series],
    ) -> pl.DataFrame:
        return keyed[list(self._windows.by)].hstack(
            [
                pl.Series("window_start", starts),
                pl.Series("window_end", ends),
                pl.Series(REVISION, np.full(len(starts), revision, np.int32)),
                *values[: len(self._windows.over)],
                pl.Series(CLOSES, closes),
            ]
        )


def _joined(
    math: Accumulators, rows: list[pl.DataFrame], partials: list[pl.DataFrame], marks: list[str]
) -> pl.DataFrame:
    """Return all as partials; a key and its marks may have several."""
    reduced = [math.reduce(stacked(rows), marks)] if rows else []
    if not partials:
        return reduced[0]
    columns = math.columns(marks)
    return stacked(each[columns] for each in (*partials, *reduced))


def _merged(
    math: Accumulators, rows: list[pl.DataFrame], partials: list[pl.DataFrame], marks: list[str]
) -> pl.DataFrame:
    """Return all as partials, a row per key and marks."""
    joined = _joined(math, rows, partials, marks)
    return math.merge(joined, marks) if partials else joined

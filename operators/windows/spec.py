"""Windows: what is aggregated, and the rules by which records belong to windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.columns.expressions import select_rows
from operators.columns.grouping import distinct
from operators.columns.hashing import hash_columns
from operators.columns.ranges import repeats
from operators.columns.times import in_micros
from operators.windows.accumulators import KEY_HASH, ORDER
from operators.windows.agg import Aggregate
from operators.windows.assigners import Assigner, Session, Sliding

PLACED: Final = ("slice", "since", KEY_HASH)
"""What a record that counts is marked with: its slice, when it came, and its key's hash."""

_SLOTS: Final = 32


@dataclass(frozen=True)
class Judged:
    """Records as PLACED marks them, those of them that count, and what came too late.

    `counts`, shape (n,), tells which count; None stands for all. `late` has a row for each
    window that a record missed: the record's columns, and `window_start`, `window_end` and the
    `watermark` that it was judged by, in µs. A record of sliding windows can be late for some
    and in time for others.
    """

    marked: pl.DataFrame
    counts: Bools | None
    late: pl.DataFrame | None

    @property
    def rows(self) -> pl.DataFrame:
        """The records that count."""
        return self.marked if self.counts is None else self.marked.filter(self.counts)


@dataclass(frozen=True)
class Windows:
    """Aggregates of the records of each window and value of the `by` columns.

    A pane of a window holds the records before which the watermark of their own partition
    had not reached the time at which the pane is due. That is a function of the data; the
    flow's watermark, which passes that time when all of them are there, decides when the pane
    is emitted, nothing else. Panes are due

    - at the window's end: revision 0;
    - in `revisions` equal steps of the `lateness` behind the end: revision 1, 2, …, for the
      keys alone that have records which came in that step;
    - every `early` from the window's start on, if given: revision -n to -1, for the keys
      alone that have new records.

    So the highest revision is the newest, and below 0 is early. A record before which its
    partition's watermark had reached the window's end plus the lateness is late.

    Sessions grow and merge, so their panes are due at times that all have in common, the
    multiples of the session's `step`. The records that a pane due at D holds make the sessions
    as of D. Of these are emitted

    - those that have ended by D, if they did since the step before or have records that came
      in it: revision 0 if nothing of it had ended before, or else one more than the highest
      of what it continues. A record within the lateness so extends a session that was emitted,
      joins two or makes one of its own; one that so ends behind D waits until it has;
    - those that began before D and end behind it, where D is a multiple of `early`, if given,
      and they have records that came since the multiple before: revision -n, n steps before
      the end as of D.

    Bounds of one key overlap only where one session continues another, and then it contains
    it: a row is superseded by one of its key that contains its bounds and has others, or has
    the same bounds and a higher revision (`newest`). A record of a session is late if the
    watermark of its partition before it had reached its own time plus the lateness: without
    lateness none that counts can change a session that has ended, and each is emitted once.
    With a lateness of the gap that is Beam's rule: a record is dropped once [time, time + gap)
    has expired.

    `lateness` and `early` are in µs; `revisions` is not for sessions.
    """

    by: tuple[str, ...]
    window: Assigner
    aggregates: Mapping[str, Aggregate]
    lateness: int = 0
    revisions: int = 1
    early: int = 0

    def __post_init__(self) -> None:
        if not self.by or self.lateness < 0 or self.revisions < 1 or self.early < 0:
            raise ValueError("windows need a key, lateness and early >= 0, revisions >= 1")
        if not isinstance(self.window, Session):
            return
        if self.revisions > 1 or self.early % self.window.step:
            raise ValueError(
                "sessions are revised at each step: no revisions, and early in multiples of it"
            )

    @property
    def sliding(self) -> Sliding:
        """The assigner of windows that are no sessions."""
        if not isinstance(self.window, Sliding):
            raise TypeError("these windows are sessions")
        return self.window

    @property
    def session(self) -> Session:
        """The assigner of sessions."""
        if not isinstance(self.window, Session):
            raise TypeError("these windows are no sessions")
        return self.window

    @cached_property
    def over(self) -> dict[str, Aggregate]:
        """The aggregates, those of some records over columns that say so; see `Aggregate.over`."""
        return {name: each.over for name, each in self.aggregates.items()}

    @cached_property
    def _masked(self) -> dict[str, pl.Expr]:
        """How the columns come about that only some records have a value in."""
        return {a.over.column: a.masked for a in self.aggregates.values() if a.where}

    @cached_property
    def reads(self) -> list[str]:
        """The columns that a record has to have, beside `event_time` and `watermark`."""
        read = [name for each in self._masked.values() for name in each.meta.root_names()]
        made = self._masked.keys()
        return [name for name in dict.fromkeys([*self.inputs, *read]) if name not in made]

    @cached_property
    def inputs(self) -> list[str]:
        """The columns that a row keeps while its window is open."""
        columns = [a.column for a in self.over.values() if a.column]
        if isinstance(self.window, Session):
            columns.append("event_time")
        if any(a.kind in ("first", "last") for a in self.aggregates.values()):
            columns += ORDER
        return list(dict.fromkeys([*self.by, *columns]))

    @cached_property
    def panes(self) -> list[tuple[int, int]]:
        """The (revision, time due behind the window's start in µs) of a window's panes."""
        if isinstance(self.window, Session):
            return [(0, 0)]
        size = self.window.size
        early = range(self.early, size, self.early) if self.early else range(0)
        steps = range(1, self.revisions + 1 if self.lateness else 1)
        return [
            *((place - len(early), due) for place, due in enumerate(early)),
            (0, size),
            *((step, size + self.lateness * step // self.revisions) for step in steps),
        ]

    @cached_property
    def slots(self) -> int:
        """Into how many parts a key group's panes are split, each with a state of its own."""
        return _SLOTS if self.lateness and self._tumbles else 1

    @property
    def whole(self) -> bool:
        """Whether a window has one slice and one pane."""
        return self._tumbles and len(self.panes) == 1

    @property
    def once(self) -> bool:
        """Whether each session is emitted once: nothing is early, nothing opens it again."""
        return isinstance(self.window, Session) and not (self.lateness or self.early)

    @property
    def _tumbles(self) -> bool:
        return not isinstance(self.window, Session) and self.window.tumbles

    def slot(self, slices: pl.Expr) -> pl.Expr:
        """Return the slot of each slice."""
        return slices // self.window.slice % self.slots

    def first_start(self, slices: Int64s) -> Int64s:
        """Return the start of the first window that holds each slice."""
        window = self.sliding
        earliest = slices + (window.slice - window.size)
        return earliest + (window.offset - earliest) % window.every

    def last_start(self, slices: Int64s) -> Int64s:
        """Return the start of the last window that holds each slice."""
        window = self.sliding
        return slices - (slices - window.offset) % window.every

    def dues(self, slices: Int64s) -> tuple[Int64s, Int64s]:
        """Return when the records of slices may be asked for or dropped, in µs.

        All such times, each once, and per slice the last, shape (n,).
        """
        window = self.window
        if isinstance(window, Session):
            # A session closes at the first multiple of the step at or after its end, which is
            # in the slice's span plus the gap.
            first = -(-window.gap // window.step) * window.step
            last = -(-(window.gap + self.lateness) // window.step) * window.step + window.step
            dues = np.arange(window.step if self.early else first, last + 1, window.step)
            return distinct(slices[:, None] + dues), slices + last
        begin, end = self.first_start(slices), self.last_start(slices)
        count = (end - begin) // window.every + 1
        at, place = repeats(count)
        starts = distinct(begin[at] + place * window.every)
        dues = np.array([due for _, due in self.panes])
        return distinct(starts[:, None] + dues), end + dues.max()

    def closed_by(self, time: int) -> int:
        """Return the watermark at which no pane is due any more of windows of a time, in µs.

        But of sessions that later records have made longer.
        """
        phase = 0 if isinstance(self.window, Session) else self.window.offset
        _, last = self.dues(np.array([time - (time - phase) % self.window.slice]))
        return int(last[0])

    def judge(self, frame: pl.DataFrame, marks: Int64s | None = None) -> Judged:
        """Tell the records that count from the late ones; needs `event_time`, `watermark`.

        `marks` stand for the watermarks before the records, in µs, if given. A record counts
        in the panes of its slice that are due at or after its `since`.
        """
        masked = [each for n, each in self._masked.items() if n not in frame.columns]
        if masked:
            frame = frame.hstack(select_rows(frame, masked).get_columns())
        times = in_micros(frame["event_time"])
        if marks is None:
            marks = in_micros(frame["watermark"])
        window = self.window
        if isinstance(window, Session):
            slices = times - times % window.step
            since = (slices if self.once else marks - marks % window.step) + window.step
            missed = (times + self.lateness <= marks).astype(np.int64)
            begins, ends, every, kept = times, times + window.gap, 0, missed == 0
        else:
            slices = times - (times - window.offset) % window.slice
            begins, every = self.first_start(slices), window.every
            span = window.size + self.lateness
            last = self.last_start(slices)
            missed = np.maximum((np.minimum(last, marks - span) - begins) // every + 1, 0)
            since = self._since(begins, marks)
            ends, kept = begins + window.size, last > marks - span
        hashes = hash_columns(frame, self.by)
        marked = zip(PLACED, (slices, since, hashes), strict=True)
        rows = frame.hstack([pl.Series(name, values) for name, values in marked])
        if not missed.any():
            return Judged(rows, None, None)
        at, place = repeats(missed)
        late = frame[at].with_columns(
            pl.Series("window_start", begins[at] + place * every),
            pl.Series("window_end", ends[at] + place * every),
            pl.Series("watermark", marks[at]),
        )
        return Judged(rows, None if kept.all() else kept, late)

    def _since(self, begins: Int64s, marks: Int64s) -> Int64s:
        """Return the first due time behind each record's watermark."""
        first = self.panes[0][1]
        since = begins + first
        behind = np.flatnonzero(marks >= since)
        if len(behind):
            dues = np.array([due for _, due in self.panes])
            # Windows that overlap are due on one grid, at the same times of every period.
            period, phase = self.sliding.every, self.sliding.offset
            base, marks = begins[behind], marks[behind]
            if not self._tumbles:
                dues = distinct((dues + phase) % period)
                base = marks - marks % period
                dues = np.append(dues, dues[0] + period)
            place = np.searchsorted(dues, marks - base, "right")
            since[behind] = base + dues[np.minimum(place, len(dues) - 1)]
        return since

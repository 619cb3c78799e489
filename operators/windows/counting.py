"""How many windows are open, counted from what intakes hold and panes keep.

A window is open from its first record on until the last pane that can have it is due: until
then a record may still come that counts in it. What a step keeps are rows and partials, of which
many are of one window and one is of many. So each is told as a span, of starts of windows or of
a session's times, and spans of one key that reach each other are one.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.grouping import differs, distinct, order_by
from operators.columns.hashing import key_groups
from operators.columns.ranges import repeats
from operators.columns.times import in_micros
from operators.windows.accumulators import KEY_HASH
from operators.windows.assigners import Session
from operators.windows.emission import FIRST, LAST
from operators.windows.spec import Windows


@dataclass(frozen=True, slots=True)
class Spans:
    """Of n spans the hashes of their keys, and their first and last times in µs, shape (n,).

    By key and first time, where they are `joined` none of a key reaches another.
    """

    keys: UInt64s
    first: Int64s
    last: Int64s

    @staticmethod
    def of(
        windows: Windows, frames: Sequence[pl.DataFrame], done: int | None = None
    ) -> "Spans":
        """Return the spans of rows and partials of rows, joined.

        Of windows that are no sessions a span is of their starts, without those whose last pane was
        due by the watermark `done`, in µs.
        """
        ends = [_of_sessions(f) for f in frames] if isinstance(windows.window, Session) else [
            _of_windows(windows, f, done) for f in frames
        ]  # fmt: skip
        if not ends:
            return NONE
        first, last = (np.concatenate(each) for each in zip(*ends, strict=True))
        keys = np.concatenate([frame[KEY_HASH].to_numpy() for frame in frames])
        some = first <= last
        if not some.all():
            keys, first, last = keys[some], first[some], last[some]
        return joined(windows, [Spans(keys, first, last)])

    def __len__(self) -> int:
        return len(self.keys)

    def of_keys(self, keys: UInt64s) -> "Spans":
        """Return those of keys, each of which is told once; they have to be in order."""
        begin = np.searchsorted(self.keys, keys, "left")
        at, step = repeats(np.searchsorted(self.keys, keys, "right") - begin)
        places = begin[at] + step
        return Spans(self.keys[places], self.first[places], self.last[places])

    def count(self, windows: Windows) -> int:
        """Return of how many windows joined spans are."""
        if isinstance(windows.window, Session):
            return len(self)
        return int(((self.last - self.first) // windows.sliding.every + 1).sum())


NONE: Final = Spans(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))


def joined(windows: Windows, several: Sequence[Spans]) -> Spans:
    """Return all spans in order, those of a key that reach each other as one."""
    keys, first, last = (
        np.concatenate(each)
        for each in zip(*((s.keys, s.first, s.last) for s in several), strict=True)
    )
    if not len(keys):
        return Spans(keys, first, last)
    if isinstance(windows.window, Session):
        numbers, reach = first, windows.session.gap - 1
    else:
        reach = windows.sliding.every
        numbers = (first - first.min()) // reach
    order = order_by(keys, numbers)
    keys, first, last = keys[order], first[order], last[order]
    new = differs(keys)
    until = _largest_so_far(last, new)
    new[1:] |= first[1:] - until[:-1] > reach
    at = np.flatnonzero(new)
    return Spans(keys[at], first[at], np.maximum.reduceat(last, at))


def _of_windows(
    windows: Windows, frame: pl.DataFrame, done: int | None
) -> tuple[Int64s, Int64s]:
    """Return the first and last starts of the windows that rows count in, ends before starts."""
    slices = frame["slice"].to_numpy()
    first, last = windows.first_start(slices), windows.last_start(slices)
    due = windows.panes[-1][1]
    # By its partition's watermark a row may be late for the first of them.
    earliest = frame["since"].to_numpy() - due
    if done is not None:
        earliest = np.maximum(earliest, done + 1 - due)
    every = windows.sliding.every
    return first + np.maximum(-((first - earliest) // every), 0) * every, last


def _of_sessions(frame: pl.DataFrame) -> tuple[Int64s, Int64s]:
    """Return the first and last times of records, or of what partials are of."""
    first, last = (
        in_micros(frame[name if name in frame.columns else "event_time"])
        for name in (FIRST, LAST)
    )
    return first, last


def _largest_so_far(values: Int64s, new: Bools) -> Int64s:
    """Return the largest of each value and those before it, since the last that is `new`."""
    if (values[1:] >= values[:-1])[~new[1:]].all():
        return values
    # Ranks are small enough to have the key in front of them.
    ranks, place = np.argsort(values), np.empty(len(values), np.int64)
    place[ranks] = np.arange(len(values))
    so_far = np.maximum.accumulate(np.cumsum(new) * len(values) + place) % len(values)
    largest: Int64s = values[ranks[so_far]]
    return largest


@dataclass(slots=True)
class _Group:
    """What a key group's parts have told, and how many windows that is."""

    kept: dict[Hashable, Spans] = field(default_factory=dict)
    held: dict[Hashable, Spans] = field(default_factory=dict)
    count: int = 0


class OpenCount:
    """The open windows of a step, of all key groups that this process has.

    Its parts tell what they have, when that changes: panes what has been handed on to them, which
    is much and seldom changes, and intakes what they hold back, which is little. A window may have
    records in both, and is one. Where panes of a key group are in another process than its intake,
    as they may be with a lateness, both count what they share.
    """

    def __init__(self, windows: Windows, groups: int, show: Callable[[int], object]) -> None:
        """Count nothing yet; `groups` are the key groups, `show` is called with each count."""
        self._windows, self._number, self._show = windows, groups, show
        self._groups: dict[int, _Group] = {}
        self._where: dict[Hashable, int] = {}
        # Workers of this process are threads.
        self._lock = threading.Lock()

    def keep(self, part: Hashable, spans: Spans) -> None:
        """Take what panes have; `part` is who tells it."""
        self._take(part, spans, lambda group: group.kept)

    def hold(self, part: Hashable, spans: Spans) -> None:
        """Take what an intake holds; `part` is as of `keep`."""
        self._take(part, spans, lambda group: group.held)

    def _take(
        self,
        part: Hashable,
        spans: Spans,
        told: Callable[[_Group], dict[Hashable, Spans]],
    ) -> None:
        with self._lock:
            if len(spans):
                self._where[part] = int(key_groups(spans.keys[:1], self._number)[0])
            elif part not in self._where:
                return
            group = self._groups.setdefault(self._where[part], _Group())
            if len(spans):
                told(group)[part] = spans
            else:
                del told(group)[part], self._where[part]
            group.count = self._count(group)
            self._show(sum(each.count for each in self._groups.values()))

    def _count(self, group: _Group) -> int:
        """Return of how many windows all is; only keys of which something is held need a look."""
        kept = [*group.kept.values()]
        count = sum(each.count(self._windows) for each in kept)
        if not group.held:
            return count
        held = joined(self._windows, [*group.held.values()])
        keys = distinct(held.keys)
        same = [each.of_keys(keys) for each in kept]
        both = joined(self._windows, [held, *same])
        return count + both.count(self._windows) - sum(s.count(self._windows) for s in same)

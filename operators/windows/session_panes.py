"""Sessions as of the times at which their panes are due, for all keys and times at once.

A gap of 10 and a lateness of 30. Two records of a key, at 0 and 4, known as of 1 and 5, make a
session that ends at 14, and its pane is due then:

>>> from operators.windows import agg, session
>>> windows = Windows(("key",), session(10, step=1), {"n": agg.count()}, lateness=30)
>>> def known(*records):
...     session, time, since, emitted = map(np.array, zip(*records))
...     return Known(session, time, time, time, since, emitted)
>>> def shown(held):
...     found = zip(held.due.tolist(), held.revision.tolist())
...     return [(*pane, held.known[held.pane == n].tolist()) for n, pane in enumerate(found)]
>>> records = known((0, 0, 1, -1), (0, 4, 5, -1), (1, 25, 26, -1))
>>> shown(panes_between(windows, records, after=5, until=20))
[(14, 0, [0, 1])]
>>> records.emitted.tolist()
[0, 0, -1]

The record at 25 is a session of its own, emitted at 35. Then two late ones come, as of 38: 11
and 18 make one session of all, so the next revision holds all five, one above the highest that
any of them had:

>>> shown(panes_between(windows, records, after=20, until=36))
[(35, 0, [2])]
>>> records = known((0, 0, 1, 0), (0, 4, 5, 0), (0, 11, 38, -1), (0, 18, 38, -1), (0, 25, 26, 0))
>>> shown(panes_between(windows, records, after=36, until=40))
[(38, 1, [0, 1, 2, 3, 4])]
"""

from dataclasses import dataclass

import numpy as np

from operators.columns.arrays import Bools, Int64s
from operators.columns.ranges import repeats
from operators.windows.spec import Windows


@dataclass(frozen=True, slots=True)
class Known:
    """Records, and partials of records, by key and slice: n of them, times in µs.

    `since` is the first multiple of the step as of which one is there (of a partial, its last
    record); `emitted` the highest revision emitted of it, -1 for none. `session`, counted from
    0, tells which of them are one session as of now.
    """

    session: Int64s
    slices: Int64s
    first: Int64s
    last: Int64s
    since: Int64s
    emitted: Int64s


@dataclass(frozen=True, slots=True)
class Held:
    """Panes, m of them, and what they hold: the `known` of each (pane, known) pair."""

    pane: Int64s
    known: Int64s
    revision: Int64s
    due: Int64s


def chained(new_key: Bools, slices: Int64s, first: Int64s, last: Int64s, gap: int) -> Int64s:
    """Return which chain each of n is of, counted from 0; they are by key and slice.

    What shares a key and a slice shares a chain; a chain may reach over slices behind it.
    """
    at = np.flatnonzero(new_key | (np.diff(slices, prepend=-1) != 0))
    begins = new_key[at]
    first, last = np.minimum.reduceat(first, at), np.maximum.reduceat(last, at)
    # The largest so far of the key: ranks are small enough to have the key in front of them.
    ranks, place = np.argsort(last), np.empty(len(last), np.int64)
    place[ranks] = np.arange(len(last))
    reach = np.maximum.accumulate(np.cumsum(begins) * len(last) + place) % len(last)
    begins[1:] |= first[1:] - last[ranks][reach[:-1]] >= gap
    return np.repeat(np.cumsum(begins) - 1, np.diff(np.append(at, len(slices))))


def panes_between(windows: Windows, known: Known, after: int, until: int) -> Held | None:
    """Return the panes that are due behind `after` and up to `until`, multiples of the step.

    Brings `known.emitted` up to date.
    """
    gap, step, early = windows.session.gap, windows.session.step, windows.early
    session, due, at, of = _as_of(known, *_dues(windows, known, after, until))
    if len(at) == 0:
        return None
    first, last = known.first[at], known.last[at]
    chain = chained(np.diff(of, prepend=-1) != 0, known.slices[at], first, last, gap)
    heads = np.flatnonzero(np.diff(chain, prepend=-1))
    start = np.minimum.reduceat(first, heads)
    end = np.maximum.reduceat(last, heads) + gap
    newest = np.maximum.reduceat(known.since[at], heads)
    session, due = session[of[heads]], due[of[heads]]
    wanted = ended = (end <= due) & (np.maximum(end, newest) > due - step)
    if early:
        is_open = (due % early == 0) & (start < due) & (due < end)
        wanted = ended | (is_open & (np.maximum(newest, start + 1) > due - early))
    if not wanted.any():
        return None
    held = Held(
        (np.cumsum(wanted) - 1)[chain[wanted[chain]]],
        at[wanted[chain]],
        ((due - end) // step)[wanted],
        due[wanted],
    )
    _count(held, session[wanted], ended[wanted], known.emitted)
    return held


def _dues(windows: Windows, known: Known, after: int, until: int) -> tuple[Int64s, Int64s]:
    """Return each (session, time) at which a session may have a pane, in that order.

    Without early panes that is once, behind its end, unless it has records that came behind
    the watermark: what they join may have ended before.
    """
    gap, step, early = windows.session.gap, windows.session.step, windows.early
    heads = np.flatnonzero(np.diff(known.session, prepend=-1))
    tails = np.maximum.reduceat(known.last, heads)
    behind = (known.since > known.slices + step) & (known.since > after)
    torn = np.zeros(len(heads), bool)
    torn[known.session[behind]] = True
    parts = torn[known.session]
    found = [
        (np.arange(len(heads)), _up(tails + gap, step)),
        (known.session[behind], known.since[behind]),
        (known.session[parts], _up(known.last[parts] + gap, step)),
    ]
    if early:
        found.append((known.session, _up(known.since, early)))
        found.append((known.session, _up(known.first + 1, early)))
    session, due = (np.concatenate(each) for each in zip(*found, strict=True))
    now = (due > after) & (due <= until)
    session, due = session[now], due[now]
    order = np.lexsort((due, session))
    session, due = session[order], due[order]
    new = (np.diff(session, prepend=-1) != 0) | (np.diff(due, prepend=0) != 0)
    return session[new], due[new]


def _up(times: Int64s, step: int) -> Int64s:
    """Return the first multiples of the step at or behind times."""
    return -(-times // step) * step


def _as_of(known: Known, session: Int64s, due: Int64s) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Return the pairs of `_dues`, and of each (known, pair) that is there then both places."""
    heads = np.flatnonzero(np.diff(known.session, prepend=-1))
    sizes = np.diff(np.append(heads, len(known.session)))[session]
    of, step = repeats(sizes)
    at = heads[session][of] + step
    there = known.since[at] <= due[of]
    return session, due, at[there], of[there]


def _count(held: Held, session: Int64s, ended: Bools, emitted: Int64s) -> None:
    """Give panes of ended sessions the revision above the highest emitted of what they hold.

    `session` and `ended` are the panes'.
    """
    panes = np.flatnonzero(ended)
    session, due = session[panes], held.due[panes]
    new_session = np.diff(session, prepend=-1) != 0
    place = np.cumsum(new_session | (np.diff(due, prepend=0) != 0))
    heads = np.flatnonzero(new_session)
    turn = np.full(len(ended), -1)
    turn[panes] = place - np.repeat(place[heads], np.diff(np.append(heads, len(panes))))
    # Those of one session in turn, nearly always one: each counts on from those it holds.
    for each in range(int(turn.max()) + 1):
        now = turn[held.pane] == each
        known, pane = held.known[now], held.pane[now]
        heads = np.flatnonzero(np.diff(pane, prepend=-1))
        revision = np.maximum.reduceat(emitted[known], heads) + 1
        held.revision[pane[heads]] = revision
        emitted[known] = np.repeat(revision, np.diff(np.append(heads, len(pane))))

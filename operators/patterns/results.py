"""Results: which complete matches count, and their rows."""

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s, UInt64s
from operators.patterns.pattern import Pattern
from operators.records.tables import TIME
from operators.state.time_log import TimeLog


def apart(keys: UInt64s, first: Int64s, last: Int64s) -> Int64s:
    """Return the matches that lie behind all chosen before them, by key and first event.

    `first` and `last` are the ids of their events, shape (n,). A walk over complete matches
    alone: they are few, and each choice hangs on the one before.
    """
    order = np.lexsort((first, keys))
    chosen: list[int] = []
    until: tuple[int | None, int] = (None, -1)
    ends = last[order].tolist()
    starts = zip(order.tolist(), keys[order].tolist(), first[order].tolist(), ends, strict=True)
    for row, key, start, end in starts:
        if until[0] != key or start > until[1]:
            chosen.append(row)
            until = key, end
    return np.array(chosen, np.int64)


def results(pattern: Pattern, events: TimeLog, taken: Int64s, absence: int) -> pl.DataFrame:
    """Return a row for each match with `Pattern.schema`, in order.

    `taken` are the ids of their events, shape (n, steps); they are settled `absence` µs behind
    the last one.
    """
    times = events.column("time")[taken - events.first]
    settled = times[:, -1] + absence
    order = np.lexsort((taken[:, 0], settled))
    taken, times, settled = taken[order], times[order], settled[order]
    side = pattern.side
    columns: list[pl.Series] = []
    for step, ids in zip(pattern.steps, taken.T, strict=True):
        event = events.payload(ids)
        if not columns:
            names = zip(side.by, side.keys, strict=True)
            columns += [event[key].alias(by) for by, key in names]
        columns += [event[name].alias(f"{step.name}_{name}") for name in side.columns]
    spans = {"started_at": times[:, 0], "ended_at": times[:, -1], "settled_at": settled}
    columns += [pl.Series(name, values).cast(TIME) for name, values in spans.items()]
    return pl.DataFrame(columns)

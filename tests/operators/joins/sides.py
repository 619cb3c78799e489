"""Two sides for the oracles of the joins, and what holds for every join of them."""

from collections.abc import Callable
from typing import Any

import polars as pl
from hypothesis import strategies as st

from operators.joins import IntervalJoin, OpenIntervals, OpenVersions, TemporalJoin
from operators.state.event_time_buffer import Side
from tests.operators.streams import (
    TYPES,
    Event,
    Partitions,
    Run,
    bounds,
    check_timing,
    events,
    run,
)

LEFT = Side("l", ("key",), {"lk": "key", "lv": "value", "lt": "event_time"}, TYPES)
RIGHT = Side("r", ("key",), {"rv": "value", "rt": "event_time"}, TYPES)

bounds_ = st.tuples(bounds, bounds)
"""Both sides' out-of-orderness."""

Join = IntervalJoin | TemporalJoin
Oracle = Callable[[list[Event], list[Event], Any], list[tuple[Any, ...]]]


def joined(
    join: Join,
    left: Partitions,
    right: Partitions,
    bounds: tuple[int, int],
    seed: int,
    **how: Any,
) -> Run:
    interval = isinstance(join, IntervalJoin)
    opened: Any = OpenIntervals if interval else OpenVersions
    sides = {"l": join.left, "r": join.right if interval else join.versions}
    sizes = {"l": len(left), "r": len(right)}
    return run(
        {"l": (left, bounds[0]), "r": (right, bounds[1])},
        lambda: opened(join, sizes),
        lambda topic, of: sides[topic].rows(of),
        lambda state, progress, rows: state.advance(progress, rows.get("l"), rows.get("r")),
        seed,
        lateness=join.lateness,
        **how,
    )


def actual(out: Run) -> list[tuple[Any, ...]]:
    table = out.table()
    if table is None:
        return []
    times = [pl.col(name).to_physical() for name in ("lt", "rt", "settled_at")]
    assert dict(table.schema) == {
        "lk": TYPES["key"], "lv": pl.Int64(), "lt": TYPES["event_time"], "rv": pl.Int64(),
        "rt": TYPES["event_time"], "settled_at": TYPES["event_time"],
    }  # fmt: skip
    return sorted(table.with_columns(times).rows(), key=repr)


def check(
    join: Join,
    oracle: Oracle,
    left: Partitions,
    right: Partitions,
    bounds: tuple[int, int],
    seed: int,
    *,
    idle: bool = False,
) -> None:
    """Every record is recorded as late or joined as the oracle does, once.

    What is late is a function of the data, unless partitions are `idle` at times.
    """
    out = joined(join, left, right, bounds, seed, idle=idle)
    lefts, rights = events("l", left, bounds[0]), events("r", right, bounds[1])
    late = set(out.late)
    assert len(late) == len(out.late)
    if not idle:
        assert late == {e.place for e in lefts + rights if e.late(join.lateness)}
    in_time = [[e for e in side if e.place not in late] for side in (lefts, rights)]
    assert actual(out) == oracle(*in_time, join)
    check_timing(out, join.lateness)

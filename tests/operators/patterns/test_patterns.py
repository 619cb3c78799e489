import itertools
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.patterns import Absence, OpenMatches, Pattern, PatternError, Step
from operators.state.event_time_buffer import Side
from tests.examples import examples
from tests.operators.streams import TYPES, Event, bounds, check_timing, events, partitions, run

SIDE = Side(
    "t",
    ("key",),
    {"v": "value", "t": "event_time", "p": "source_partition", "o": "source_offset"},
    TYPES | {"source_partition": pl.Int32(), "source_offset": pl.Int64()},
)

CONDITIONS = {"value = 0": (0,), "value = 1": (1,), "value <= 1": (0, 1), "value >= 2": (2, 3)}


def pattern(steps: Any, within: int, absent: Any, matches: Any, lateness: int) -> Pattern:
    made = tuple(
        Step(f"s{i}", where, strict and i > 0, unless if i else None)
        for i, (where, strict, unless) in enumerate(steps)
    )
    return Pattern("s", SIDE, made, within, absent and Absence(*absent), matches, lateness)


condition = st.sampled_from(sorted(CONDITIONS))
step = st.tuples(condition, st.sampled_from([False, False, True]), st.none() | condition)
absences = st.tuples(condition, st.integers(1, 15))
patterns = st.builds(
    pattern,
    st.lists(step, min_size=2, max_size=4), st.integers(1, 40), st.none() | absences,
    st.sampled_from(["all", "skip_past_last"]), st.integers(0, 4),
) | st.builds(
    pattern,
    st.lists(step, min_size=1, max_size=1), st.integers(1, 40), absences,
    st.sampled_from(["all", "skip_past_last"]), st.integers(0, 4),
)  # fmt: skip


def path(of: list[Event], start: int, seq: Pattern) -> list[int] | None:
    """The positions that a match from `start` takes, None if it does not come about."""
    taken = [start]
    for each in seq.steps[1:]:
        for at in range(taken[-1] + 1, len(of)):
            if of[at].value in CONDITIONS[each.where]:
                break
            if each.strict or (each.unless and of[at].value in CONDITIONS[each.unless]):
                return None
        else:
            return None
        if of[at].time - of[start].time >= seq.within:
            return None
        taken.append(at)
    if seq.absent:
        for other in of[taken[-1] + 1 :]:
            broken = other.value in CONDITIONS[seq.absent.where]
            if broken and other.time < of[taken[-1]].time + seq.absent.within:
                return None
    return taken


def oracle(of: list[Event], seq: Pattern) -> list[tuple[Any, ...]]:
    rows = []
    ordered = sorted(of, key=lambda e: (e.key, e.order))
    for key, group in itertools.groupby(ordered, key=lambda e: e.key):
        mine, until = list(group), -1
        for start, event in enumerate(mine):
            if event.value not in CONDITIONS[seq.steps[0].where]:
                continue
            taken = path(mine, start, seq)
            if taken is None or (seq.matches == "skip_past_last" and start <= until):
                continue
            until = taken[-1]
            first, last = mine[taken[0]], mine[taken[-1]]
            settled = last.time + (seq.absent.within if seq.absent else 1)
            fields = [
                value
                for e in (mine[at] for at in taken)
                for value in (e.value, e.time, e.partition, e.offset)
            ]
            rows.append((key, *fields, first.time, last.time, settled))
    return sorted(rows)


def actual(out: Any, seq: Pattern) -> list[tuple[Any, ...]]:
    table = out.table()
    if table is None:
        return []
    assert dict(table.schema) == seq.schema
    return sorted(table.with_columns(pl.selectors.datetime().to_physical()).rows())


def matched(seq: Pattern, records: Any, bound: int, seed: int, **how: Any) -> Any:
    sizes = {"t": len(records)}
    return run(
        {"t": (records, bound)},
        lambda: OpenMatches(seq, sizes),
        lambda _, frame: seq.rows(frame),
        lambda state, progress, rows: state.advance(progress, rows.get("t")),
        seed,
        lateness=seq.lateness,
        **how,
    )


@examples(1.5)
@given(patterns, partitions(size=25, keys="abc"), bounds, st.integers())
def test_the_matches_are_those_of_the_ordered_events(seq, records, bound, seed):
    out = matched(seq, records, bound, seed)
    all_ = events("t", records, bound)
    in_time = [e for e in all_ if not e.late(seq.lateness)]
    assert actual(out, seq) == oracle(in_time, seq)
    check_timing(out, seq.lateness)


@given(patterns, partitions(size=25, keys="abc"), bounds, st.integers())
def test_with_idle_partitions_every_event_counts_or_is_late(seq, records, bound, seed):
    # Strict, so that every event is kept: others don't matter and are not recorded as late.
    out = matched(seq, records, bound, seed, idle=True)
    assert len(set(out.late)) == len(out.late)
    in_time = [e for e in events("t", records, bound) if e.place not in set(out.late)]
    assert actual(out, seq) == oracle(in_time, seq)
    check_timing(out, seq.lateness)


def test_nothing_is_left_of_a_key_that_falls_silent():
    seq = pattern([("value = 0", False, None), ("value = 1", False, None)], 10, None, "all", 0)
    records = [[(t, f"k{t}", 0) for t in range(120)]]
    out = run(
        {"t": (records, 0)}, lambda: OpenMatches(seq, {"t": 1}), lambda _, f: seq.rows(f),
        lambda s, progress, rows: s.advance(progress, rows.get("t")), 1, groups=1, end=False,
    )  # fmt: skip
    assert out.states[0].rows < 40


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([("value = 0", False, None)], "single event"),
        ([("value = 0", False, None), ("valve = 1", False, None)], "valve"),
        ([("value = 0", False, None), ("value", False, None)], "not true or false"),
        ([("value = 0", False, None), ("value > avg(value)", False, None)], "more than one"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(steps, problem):
    with pytest.raises(PatternError, match=problem):
        pattern(steps, 10, None, "all", 0)

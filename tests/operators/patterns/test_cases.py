"""The reference suite: cases written as data, each pinning a behaviour of Flink."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from operators.patterns import Absence, OpenMatches, Pattern, Step
from operators.records.batches import END_OF_INPUT, Progress
from operators.state.event_time_buffer import Side
from tests.operators.durable import Durable, End
from tests.operators.streams import TYPES, events, frame

CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text("utf-8"))
SIDE = Side("t", ("key",), {"v": "value"}, TYPES)


def pattern(case: dict[str, Any]) -> Pattern:
    given = [each if isinstance(each, dict) else {"where": each} for each in case["steps"]]
    steps = tuple(Step(f"s{i}", **each) for i, each in enumerate(given))
    absent = Absence(**case["absent"]) if "absent" in case else None
    return Pattern(
        "case", SIDE, steps, case.get("within", 1000), absent, case.get("matches", "all")
    )


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in CASES])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_case(case, at_once, restart):
    assert case["pins"]
    seq, bound = pattern(case), case.get("bound", 0)
    arrivals = [(*a, 0) if len(a) == 3 else tuple(a) for a in case["arrivals"]]
    size = 1 + max(a[3] for a in arrivals)
    by_partition = events(
        "t", [[(a[1], a[0], a[2]) for a in arrivals if a[3] == p] for p in range(size)], bound
    )
    queues = {p: iter([e for e in by_partition if e.partition == p]) for p in range(size)}
    ordered = [next(queues[a[3]]) for a in arrivals]
    store, rows, late, marks = Durable(lambda: OpenMatches(seq, {"t": size})), [], 0, {}
    for start in range(0, len(ordered), at_once):
        mine = ordered[start : start + at_once]
        progress = []
        for e in mine:
            marks[e.partition] = max(marks.get(e.partition, e.time), e.time)
            progress.append(
                Progress("t", e.partition, size, e.offset, marks[e.partition] - bound)
            )
        of = frame([e for e in mine if not e.late(0)])
        late += sum(e.late(0) for e in mine)
        store.begin()
        found = store.state.advance(progress, seq.rows(of) if of.height else None)
        rows += [] if found.rows is None else [found.rows]
        if restart:
            store.end(End(resume=True))
    found = store.state.advance(
        [Progress("t", p, size, 99, END_OF_INPUT) for p in range(size)], None
    )
    rows += [] if found.rows is None else [found.rows]
    taken = [f"s{i}_v" for i in range(len(seq.steps))]
    actual = [
        [[row[name] for name in taken], round(row["settled_at"].timestamp() * 1e6)]
        for each in rows
        for row in each.iter_rows(named=True)
    ]
    assert sorted(actual) == sorted(case["rows"])
    assert late == case.get("late", 0)
    assert not rows or dict(rows[0].schema) == seq.schema
    assert isinstance(seq.schema["settled_at"], pl.Datetime)

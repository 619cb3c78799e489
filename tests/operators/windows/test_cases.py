"""The reference suite: cases written as data, each pinning a behaviour of Flink or Beam."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.windows import OpenWindows, Windows, agg, session, sliding, tumbling
from tests.operators.windows.model import Record, expected, frame, shown
from tests.operators.windows.soon import full

FOLDER = Path(__file__).parent / "cases"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text("utf-8"))
]
# The model does not know by itself when a partition was idle. `test_case` runs those cases too,
# and test_against_the_model.py tells the model of partitions that woke.
WITHOUT_IDLE = [
    each
    for each in CASES
    if all(arrival[0] != "idle" for arrival in each.values[0]["arrivals"])
]
AGGREGATES = {
    "count": agg.count(),
    **{n: getattr(agg, n)("amount") for n in ("sum", "min", "max", "mean", "stddev")},
    **{n: getattr(agg, n)("amount") for n in ("first", "last", "distinct")},
    "count_gains": agg.count(where="amount > 0"),
    "sum_gains": agg.sum("amount", where="amount > 0"),
    "median": agg.quantile("amount", 0.5),
    "p90": agg.quantile("amount", 0.9),
}
MAKERS = {"tumbling": tumbling, "sliding": sliding, "session": session}


def spec(case: dict[str, Any]) -> Windows:
    options = dict(case["windows"])
    kind = next(iter(options))
    options_ = {name: case[name] for name in ("lateness", "revisions", "early") if name in case}
    aggregates = {name: AGGREGATES[name] for name in case.get("aggs", ["count"])}
    return Windows(("key",), MAKERS[kind](options.pop(kind), **options), aggregates, **options_)


def arrivals(case: dict[str, Any]) -> list[Record | int]:
    """The records with their partitions' watermarks; a number is a partition gone idle."""
    largest: dict[int, int] = {}
    offsets: dict[int, int] = {}
    result: list[Record | int] = []
    for arrival in case["arrivals"]:
        if arrival[0] == "idle":
            result.append(arrival[1])
            continue
        partition, key, time, *amount = arrival
        mark = (
            largest[partition] - case.get("bound", 0) if partition in largest else NO_WATERMARK
        )
        offset = offsets[partition] = offsets.get(partition, -1) + 1
        result.append(Record(partition, offset, key, time, *(amount or [1]), mark=mark))
        largest[partition] = max(time, largest.get(partition, time))
    return result


def run(case: dict[str, Any], at_once: int, restart: bool) -> tuple[Any, int, list[Any]]:
    windows, ordered = spec(case), arrivals(case)
    partitions = case.get(
        "partitions", 1 + max(r.partition for r in ordered if isinstance(r, Record))
    )
    opened, panes, late, held = OpenWindows(windows), [], [], []
    marks: dict[int, int] = {}

    def advance(progress: list[Progress]) -> None:
        judged = windows.judge(frame(held)) if held else None
        closed = opened.advance(progress, None if judged is None else judged.rows)
        held.clear()
        panes.extend([closed.panes] if closed.panes is not None else [])
        for each in (judged.late if judged else None, closed.late):
            if each is not None:
                late.extend(
                    each.select("source_partition", "source_offset", "window_start").rows()
                )

    def progress(idle: int | None = None) -> list[Progress]:
        return [Progress("t", p, partitions, 0, m, p == idle) for p, m in marks.items()]

    for each in ordered:
        if isinstance(each, int):
            advance(progress(each))
            opened.dump()
            continue
        held.append(each)
        marks[each.partition] = max(
            marks.get(each.partition, NO_WATERMARK), each.time - case.get("bound", 0)
        )
        if len(held) >= at_once:
            advance(progress())
        if restart:
            opened = OpenWindows.load(windows, pickle.loads(pickle.dumps(opened.dump())))
    advance(progress())
    before_end = len(shown(windows, panes))
    advance([Progress("t", p, partitions, 0, END_OF_INPUT) for p in range(partitions)])
    return shown(windows, panes), before_end, sorted(late)


@pytest.mark.parametrize("at_once", [1, 2, 100])
@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any], at_once: int) -> None:
    idle = any(arrival[0] == "idle" for arrival in case["arrivals"])
    for restart in (False, True):
        if restart and idle:
            continue  # a restart at every record forgets that a partition is idle
        with full(soon=at_once == 1):
            panes, before_end, late = run(case, at_once, restart)
        rows = {tuple(row[:4]): tuple(row[4:]) for row in case["rows"]}
        assert {key: values for key, (_, values) in panes.items()} == rows
        assert late == sorted(map(tuple, case.get("late", [])))
        if "before_end" in case and not idle:
            assert before_end == case["before_end"]


@pytest.mark.parametrize("case", WITHOUT_IDLE)
def test_the_model_agrees(case: dict[str, Any]) -> None:
    panes, late = expected(spec(case), arrivals(case))
    rows = {tuple(row[:4]): tuple(row[4:]) for row in case["rows"]}
    assert {key: values for key, (_, values) in panes.items()} == rows
    assert late == sorted(map(tuple, case.get("late", [])))

"""The reference suite: cases written as data, each pinning a behaviour of Flink or Beam."""

from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from operators.joins import IntervalJoin, OpenIntervals, OpenVersions, TemporalJoin
from operators.records.batches import END_OF_INPUT, Progress
from operators.state.event_time_buffer import Side, split_late
from tests.operators.durable import Durable, End
from tests.operators.streams import TYPES, Event, events, frame

FOLDER = Path(__file__).parent / "cases"
CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text("utf-8"))
]
LEFT = Side("l", ("key",), {"key": "key", "left": "value"}, TYPES)
RIGHT = Side("r", ("key",), {"right": "value"}, TYPES)


def arrivals(case: dict[str, Any]) -> tuple[list[Event], dict[str, int]]:
    """The events in order of arrival with their watermarks, and the topics' sizes."""
    sizes = {
        topic: 1 + max((a[1] for a in case["arrivals"] if a[0] == topic), default=0)
        for topic in "lr"
    }
    by_place: dict[tuple[str, int], Any] = {}
    for topic, size in sizes.items():
        of = [
            [(a[3], a[2], a[4]) for a in case["arrivals"] if a[:2] == [topic, p]]
            for p in range(size)
        ]
        for partition in range(size):
            mine = [
                e for e in events(topic, of, case.get("bound", 0)) if e.partition == partition
            ]
            by_place[topic, partition] = iter(mine)
    return [next(islice(by_place[a[0], a[1]], 1)) for a in case["arrivals"]], sizes


def run(
    case: dict[str, Any], kind: str, at_once: int, restart: bool
) -> tuple[list[Any], int, list[Any]]:
    ordered, sizes = arrivals(case)
    options = dict(case["join"])
    if options.pop("deleted", False):
        options["deleted"] = "gone"
    make: Any = OpenIntervals if kind == "interval" else OpenVersions
    join: Any = (IntervalJoin if kind == "interval" else TemporalJoin)(LEFT, RIGHT, **options)
    side = {"l": LEFT, "r": RIGHT if kind == "interval" else join.versions}
    store = Durable(lambda: make(join, sizes))
    marks: dict[tuple[str, int], int] = {}
    results, late = [], []

    def advance(progress: list[Progress], rows: dict[str, pl.DataFrame]) -> None:
        store.begin()
        found = store.state.advance(progress, rows.get("l"), rows.get("r"))
        results.extend([] if found.rows is None else found.rows.rows())
        if restart:
            store.end(End(resume=True))

    for start in range(0, len(ordered), at_once):
        brought, progress = {}, []
        for topic in "lr":
            mine = [e for e in ordered[start : start + at_once] if e.topic == topic]
            if not mine:
                continue
            of = frame(mine)
            kept, dropped = split_late(
                topic, side[topic].rows(of), of["watermark"].to_numpy(), join.lateness
            )
            if dropped is not None:
                late.extend(
                    dropped.select("source_topic", "source_partition", "source_offset").rows()
                )
            brought[topic] = kept
            for event in mine:
                place = topic, event.partition
                marks[place] = max(marks.get(place, event.time), event.time)
                at = marks[place] - case.get("bound", 0)
                progress.append(
                    Progress(topic, event.partition, sizes[topic], event.offset, at)
                )
        advance(progress, brought)
    before_end = len(results)
    advance(
        [Progress(t, p, n, 10**6, END_OF_INPUT) for t, n in sizes.items() for p in range(n)], {}
    )
    return results, before_end, late


@pytest.mark.parametrize(("kind", "case"), CASES)
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_case(kind, case, at_once, restart):
    assert case["pins"]
    results, before_end, late = run(case, kind, at_once, restart)
    rows = [(key, left, right, settled.timestamp()) for key, left, right, settled in results]
    wanted = [(*row[:3], row[3] / 1e6) for row in case["rows"]]
    assert [r[3] for r in rows] == sorted(r[3] for r in rows)
    assert sorted(rows, key=repr) == sorted(wanted, key=repr)
    assert sorted(late) == sorted(map(tuple, case.get("late", [])))
    if "before_end" in case and at_once == 1:
        assert before_end == case["before_end"]

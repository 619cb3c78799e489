"""What arrives against a plain list of rows, written in parts and resumed at any time."""

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import settings

from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.state.event_time_buffer import (
    LATE_ROWS,
    OFFSET,
    PARTITION,
    TIME_US,
    EventTimeBuffer,
    Side,
)
from operators.state.reordering import Reordering
from operators.state.shards import SHARDS, Composite
from tests.operators.columns.held import held
from tests.operators.durable import Durable, End
from tests.operators.streams import TYPES, Event, events, frame

SIDES = {topic: Side(topic, ("key",), {"value": "value"}, TYPES) for topic in "lr"}


def rows(topic: str, *times: int, partition: int = 0) -> pl.DataFrame:
    parts = [[] for _ in range(partition)] + [[(time, "a", time) for time in times]]
    return SIDES[topic].rows(frame(events(topic, parts, 0)))


def progress(topic: str, watermark: int, partition: int = 0, idle: bool = False) -> Progress:
    return Progress(topic, partition, 2 if topic == "l" else 1, 9, watermark, idle)


@pytest.fixture
def reordering() -> Reordering:
    return Reordering({"l": 2, "r": 1}, "lr", 3)


def offsets(side: pl.DataFrame | None) -> list[int]:
    return [] if side is None else side[OFFSET].to_list()


def test_rows_pass_once_with_the_watermark_of_all_partitions_less_the_lateness(reordering):
    assert reordering.passed() is None
    both = [progress("l", 10), progress("r", 10)]
    assert reordering.add(both, rows("l", 8, 6, 7), rows("r", 1)) is None
    assert reordering.passed() is None, "a partition was not heard of"
    reordering.add([progress("l", 10, 1)], None, None)
    due, (left, right) = reordering.passed()
    assert (due, offsets(left), offsets(right)) == (7, [1], [0])
    assert reordering.passed() is None
    assert len(reordering) == 2
    reordering.add([progress("l", 11), progress("l", 11, 1), progress("r", 12)], None, None)
    due, (left, right) = reordering.passed()
    assert (due, offsets(left), right) == (8, [2], None)


def test_a_partition_that_slept_brings_late_rows(reordering):
    slept = [progress("l", 50), progress("l", NO_WATERMARK, 1, idle=True), progress("r", 50)]
    reordering.add(slept, None, None)
    reordering.head()  # at snapshots the flow goes on without those that sleep
    assert reordering.passed() is not None
    woken = rows("l", 46, 47, partition=1)
    late = reordering.add([progress("l", 47, 1)], woken, None)
    assert dict(late.schema) == LATE_ROWS
    assert late.select("source_partition", "source_offset").rows() == [(1, 0)]
    assert len(reordering) == 1


def test_a_row_that_has_been_passed_is_late_if_its_own_watermark_went_back(reordering):
    all_ = [progress("l", 10), progress("l", 10, 1), progress("r", 10)]
    reordering.add(all_, None, None)
    assert reordering.passed() == (7, [None, None])
    late = reordering.add([progress("l", 2)], rows("l", 8, 6, 7), None)
    assert late is not None
    assert late.select("source_offset", pl.col("watermark").to_physical()).rows() == [(1, 10)]
    assert len(reordering) == 2


class Alone(Composite):
    """What arrives on its own, as a step's state."""

    VERSION = 1

    def __init__(self):
        self.reordering = Reordering({"l": 2, "r": 1}, "lr", 3)

    rows = property(lambda self: len(self.reordering))
    members = property(lambda self: {"arrivals": self.reordering})


PLACES = ("l", 0), ("l", 1), ("r", 0)
KEPT = TIME_US, PARTITION, OFFSET, "value"


class Topics:
    """Partitions whose watermarks go on, and back; the next records of one of them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.marks, self.ends = dict.fromkeys(PLACES, 0), dict.fromkeys(PLACES, 0)

    def read(self, around: int) -> tuple[Progress, list[Event]]:
        chance = self.chance
        place = chance.choice(PLACES)
        self.marks[place] += chance.choice([0, 0, 2, 5, -1])
        found = []
        for offset in range(self.ends[place], self.ends[place] + chance.randint(0, 6)):
            time, key = around + chance.randint(-2, 25), str(chance.randrange(60))
            found.append(Event(*place, offset, time, key, chance.randrange(100), 0))
        self.ends[place] += len(found)
        return progress(place[0], self.marks[place], place[1], chance.random() < 0.1), found


def keyed(topic: str, of: list[Event]) -> list[pl.DataFrame | None]:
    return [SIDES[side].rows(frame(of)) if side == topic else None for side in "lr"]


@pytest.mark.parametrize("seed", range(max(3, settings.default.max_examples // 5)))
def test_each_row_passes_once_or_is_late_whatever_is_written_when_and_resumed(seed):
    """Far more batches than hypothesis would think of: a loss shows after several epochs."""
    store, topics, due = Durable(Alone), Topics(seed), NO_WATERMARK
    chance = topics.chance
    waiting: dict[str, list[tuple[Any, ...]]] = {"l": [], "r": []}
    store.begin()
    for number in range(120):
        if chance.random() < 0.4:
            store.end(End(*(chance.random() < odds for odds in (0.4, 0.6, 0.1))))
            store.begin()
        reordering = store.state.reordering
        at, some = topics.read(max(due, 0))
        if chance.random() < 0.2:
            some *= 2  # as if a record made several keyed rows
        if number == 119:
            for place in PLACES:
                reordering.add([progress(place[0], END_OF_INPUT, place[1])], None, None)
            at, some = progress("r", END_OF_INPUT), []
        floor = reordering.flow.floors(at.topic).get(at.partition, NO_WATERMARK)
        late = reordering.add([at], *keyed(at.topic, some))
        missed = [e.offset for e in some if e.time < max(due, floor - 3)]
        assert missed == ([] if late is None else late["source_offset"].to_list())
        waiting[at.topic] += [(*e.order, e.value) for e in some if e.offset not in missed]
        assert len(reordering) == sum(map(len, waiting.values()))
        found = reordering.passed()
        assert (found is not None) == (reordering.flow.current - 3 > due)
        if found is None:
            continue
        due, sides = found
        assert due == reordering.flow.current - 3
        for (topic, mine), side in zip(waiting.items(), sides, strict=True):
            passed = [] if side is None else side.select(KEPT).rows()
            assert passed == sorted(row for row in mine if row[0] < due)
            waiting[topic] = [row for row in mine if row[0] >= due]
    assert waiting == {"l": [], "r": []}


@pytest.mark.parametrize("fresh", [0, 50])
def test_an_epoch_writes_what_came_and_not_all_that_waits(fresh):
    total, store, written = 20_000, Durable(Alone), []
    every = [(time, f"k{time}", time) for time in range(total + 60 * fresh)]
    found = SIDES["l"].rows(frame(events("l", [every], 0)))
    store.state.reordering.add([], found.head(total), None)
    store.end(End())
    whole = store.written
    for epoch in range(60):
        store.begin()
        store.state.reordering.add([], found.slice(total + epoch * fresh, fresh), None)
        store.end(End())
        written.append(store.written)
    steady = written[10:]
    assert max(steady) < (2_000 if fresh == 0 else 2 * whole / SHARDS)
    assert sum(steady) / 50 < (2_000 if fresh == 0 else whole / 30)


def test_what_waits_holds_no_texts_of_rows_that_have_passed():
    buffer, chance, long = (
        EventTimeBuffer(),
        random.Random(1),
        "a text of more than twelve bytes",
    )
    for start in range(0, 100_000, 100):
        part = [
            (start + int(chance.expovariate(1 / 500)), f"{long}, {t}", t) for t in range(100)
        ]
        buffer.add(SIDES["l"].rows(frame(events("l", [part], 0))))
        buffer.take(start, in_order=False)
    assert held(buffer) < 100 * len(buffer)

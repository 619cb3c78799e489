"""Streams for oracles: partitions of events, cut and interleaved at random, with snapshots."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from operators.columns.hashing import key_groups
from operators.event_time.watermarks import PartitionWatermark
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import HASH, LATE_ROWS, split_late
from tests.operators.durable import Durable, End

TYPES = {"key": pl.String(), "value": pl.Int64(), "event_time": TIME, "gone": pl.Boolean()}


@dataclass(frozen=True)
class Event:
    """A record: what the oracles look at."""

    topic: str
    partition: int
    offset: int
    time: int
    key: str | None
    value: int | None
    watermark: int

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset

    @property
    def order(self) -> tuple[int, int, int]:
        return self.time, self.partition, self.offset

    def late(self, lateness: int) -> bool:
        return self.time + lateness < self.watermark


bounds = st.sampled_from([0, 0, 1, 2, 3, 5, 12])
"""Out-of-orderness in µs; mostly small, so that the watermark moves."""

Partitions = Sequence[Sequence[tuple[int, str | None, int]]]
"""Per partition its records in offset order: time in µs, key, value."""


def events(topic: str, partitions: Partitions, bound: int) -> list[Event]:
    found = []
    for partition, records in enumerate(partitions):
        largest = None
        for offset, (time, key, value) in enumerate(records):
            mark = NO_WATERMARK if largest is None else largest - bound
            found.append(Event(topic, partition, offset, time, key, value, mark))
            largest = time if largest is None else max(largest, time)
    return found


def frame(of: Sequence[Event]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source_topic": pl.Series([e.topic for e in of], dtype=pl.String()),
            "source_partition": pl.Series([e.partition for e in of], dtype=pl.Int32()),
            "source_offset": pl.Series([e.offset for e in of], dtype=pl.Int64()),
            "event_time": pl.Series([e.time for e in of], dtype=pl.Int64()).cast(TIME),
            "key": pl.Series([e.key for e in of], dtype=pl.String()),
            "value": pl.Series([e.value for e in of], dtype=pl.Int64()),
            "gone": pl.Series([(e.value or 0) < 0 for e in of], dtype=pl.Boolean()),
            "watermark": pl.Series([e.watermark for e in of], dtype=pl.Int64()),
        }
    )


def partitions(
    most: int = 3, size: int = 14, span: int = 40, keys: str = "abc", values: int = 3
) -> st.SearchStrategy[Partitions]:
    """Records by partition: out of order, with equal times, skewed to one key, some empty."""
    record = st.tuples(
        st.integers(0, span),
        st.sampled_from([*keys, keys[0], keys[0]]),
        st.integers(0, values),
    )
    ordered = st.lists(record, max_size=size).map(lambda rows: sorted(rows, key=lambda r: r[0]))
    return st.lists(
        st.one_of(st.lists(record, max_size=size), ordered), min_size=1, max_size=most
    )


@dataclass
class Run:
    """What a run emitted: rows in order, late records' places, and the flow's watermarks.

    And what state is left, by key group.
    """

    rows: list[pl.DataFrame] = field(default_factory=list)
    late: list[tuple[str, int, int]] = field(default_factory=list)
    spans: list[tuple[int, int, pl.DataFrame]] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def table(self) -> pl.DataFrame | None:
        return pl.concat(self.rows) if self.rows else None


Rows = Callable[[str, pl.DataFrame], pl.DataFrame]
Advance = Callable[[Any, list[Progress], Mapping[str, pl.DataFrame | None]], Any]


def run(
    topics: Mapping[str, tuple[Partitions, int]],
    make: Callable[[], Any],
    rows: Rows,
    advance: Advance,
    seed: int,
    *,
    lateness: int = 0,
    groups: int | None = None,
    idle: bool = False,
    end: bool = True,
) -> Run:
    """Drive an operator per key group with a random interleaving, cuts and snapshots.

    `topics` has each topic's partitions and out-of-orderness; `rows` makes keyed rows of a
    topic's frame.
    """
    chance = random.Random(seed)
    # Small batches in most runs, so that much is settled before the end.
    sizes_ = chance.choice([[0, 1], [0, 1, 2, 3], [0, 1, 2, 5, 20]])
    # Few groups, so that several keys share one.
    groups = groups or chance.choice([1, 1, 2, 3])
    stores = [Durable(make) for _ in range(groups)]
    reached = [NO_WATERMARK] * groups
    out = Run()
    left = {(topic, p): 0 for topic, (parts, _) in topics.items() for p in range(len(parts))}
    marks = {(t, p): PartitionWatermark(topics[t][1]) for t, p in left}
    by_place = {
        (topic, p): [e for e in events(topic, *of) if e.partition == p]
        for topic, of in topics.items()
        for p in range(len(of[0]))
    }
    # Once for all batches: to make a frame of few rows costs as much as one of all.
    whole = {place: frame(of) for place, of in by_place.items()}
    sizes = {topic: len(parts) for topic, (parts, _) in topics.items()}
    open_ = list(left)
    while open_:
        progress: list[Progress] = []
        brought: dict[str, list[Event]] = {}
        slices: dict[str, list[pl.DataFrame]] = {}
        for topic, partition in chance.sample(open_, chance.randint(1, len(open_))):
            mine = by_place[topic, partition]
            start = left[topic, partition]
            size = chance.choice(sizes_)
            part = mine[start : start + size]
            left[topic, partition] = start + len(part)
            mark = marks[topic, partition]
            mark.advance(np.array([e.time for e in part], np.int64))
            done = start + len(part) == len(mine)
            resting = idle and not part and chance.random() < 0.5
            at = END_OF_INPUT if done and end else mark.current
            if done:
                open_.remove((topic, partition))
            progress.append(
                Progress(topic, partition, sizes[topic], start + len(part) - 1, at, resting)
            )
            brought.setdefault(topic, []).extend(part)
            slices.setdefault(topic, []).append(whole[topic, partition].slice(start, len(part)))
        frames: dict[str, pl.DataFrame] = {}
        for topic, part in brought.items():
            if part:
                keyed = rows(topic, pl.concat(slices[topic], rechunk=True))
                kept, late = split_late(topic, keyed, _marks_of(part, keyed), lateness)
                out.late += _places(late)
                frames[topic] = kept
        for number, store in enumerate(stores):
            store.begin()
            state = store.state
            mine_now = {
                topic: of.filter(pl.Series(key_groups(of[HASH].to_numpy(), groups) == number))
                if groups > 1
                else of
                for topic, of in frames.items()
            }
            result = advance(state, progress, mine_now)
            out.late += _places(result.late)
            if result.rows is not None:
                out.rows.append(result.rows)
                out.spans.append((reached[number], state.reordering.flow.current, result.rows))
            # Not as of the snapshot, which may have lifted idle partitions since.
            reached[number] = state.reordering.flow.current
        if chance.random() < 0.3:
            how = End(chance.random() < 0.7, chance.random() < 0.5, chance.random() < 0.1)
            for store in stores:
                store.end(how)
    out.states = [store.state for store in stores]
    return out


def _marks_of(of: Sequence[Event], keyed: pl.DataFrame) -> np.ndarray[Any, Any]:
    """The watermark of each keyed row, which may be fewer than the records."""
    marks = {(e.partition, e.offset): e.watermark for e in of}
    places = keyed.select("_partition", "_offset").iter_rows()
    return np.array([marks[place] for place in places], np.int64)


def _places(late: pl.DataFrame | None) -> Iterator[tuple[str, int, int]]:
    if late is not None:
        assert dict(late.schema) == LATE_ROWS
        yield from late.select("source_topic", "source_partition", "source_offset").iter_rows()


def check_timing(out: Run, lateness: int) -> None:
    """Rows come when the flow's watermark passes what settles them, not before or after."""
    for before, after, rows in out.spans:
        settled = rows["settled_at"].to_physical() + lateness
        assert (settled <= after).all()
        assert (settled > before).all()
        assert settled.is_sorted()

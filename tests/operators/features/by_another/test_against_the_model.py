"""Features by another key, in any order of arrival, against a loop over all events."""

import pickle
from collections import defaultdict, deque
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.hashing import key_groups
from operators.features import Feature, Features, WholeFeatures
from operators.features.by_another import Answer, Aside, Assembly, KeyGroup, Requests, panes
from operators.records.batches import END_OF_INPUT, Batch, Progress
from operators.records.tables import COORDINATES, TIME
from operators.state.event_time_buffer import HASH, PARTITION
from tests.operators.durable import Durable, End
from tests.operators.features.aggregates import alike
from tests.operators.features.by_another.model import (
    BOUND,
    COLUMNS,
    EPOCH,
    GROUPS,
    HOUR,
    MINUTE,
    PANES,
    SECOND,
    SOURCE,
    WHERES,
    framed,
    value_of,
)

KINDS = {
    "count": (None,),
    "sum": ("amount", "tip"),
    "mean": ("amount", "tip"),
    "stddev": ("amount", "tip", "size"),
    "min": ("amount", "tip"),
    "max": ("amount", "event_time"),
    "distinct": ("card", "tip"),
}


@st.composite
def features(draw):
    found = []
    for number in range(draw(st.integers(1, 4))):
        aggregate = draw(st.sampled_from(sorted(KINDS)))
        horizon, kept = draw(
            st.sampled_from([(each, None) for each in PANES] + [("10m", "1h"), ("1d", "7d")])
        )
        stated = {
            "name": f"f{number}",
            "version": 1,
            "description": "A feature.",
            "by": draw(st.sampled_from(["shop", "shop", ["shop", "tip"]])),
            "aggregate": aggregate,
            "of": draw(st.sampled_from(KINDS[aggregate])),
            "where": draw(st.sampled_from(sorted(WHERES, key=str))),
            "horizon": horizon,
            "kept": kept,
            "lag": draw(st.sampled_from([None, None, "1s", "5m"])),
        }
        found.append(Feature.model_validate(stated))
    return tuple(found)


@st.composite
def partitions(draw):
    """The rows of each partition in order of arrival: late, far apart, ahead of Kafka's clock."""
    steps = st.one_of(
        st.integers(-2 * MINUTE, 3 * MINUTE),
        st.sampled_from([0, 0, 1, SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, -10 * MINUTE]),
        st.sampled_from([HOUR, 24 * HOUR, 7 * 24 * HOUR, -HOUR]),
    )
    found = []
    for _ in range(draw(st.integers(1, 3))):
        time, rows = EPOCH, []
        for _ in range(draw(st.integers(0, 12))):
            time = time + timedelta(microseconds=draw(steps))
            kafka = draw(st.sampled_from([None, 0, 60, -120]))
            rows.append(
                {
                    "event_time": time,
                    "kafka_timestamp": None
                    if kafka is None
                    else time + timedelta(seconds=kafka),
                    "card": draw(st.sampled_from("ab")),
                    "shop": draw(st.sampled_from(["x", "x", "y", None])),
                    "amount": draw(st.integers(-400, 400)),
                    "size": draw(st.sampled_from([0, 1, 2**32, 2**63 - 1, -(2**63)])),
                    "tip": draw(st.sampled_from([None, 0, 1])),
                }
            )
        found.append(rows)
    return found


Step = tuple[int, int, bool, bool]
"""A partition's next records, whether it is idle, and whether others hear of it at once."""
steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans(), st.booleans()), max_size=16
)
epochs = st.dictionaries(
    st.integers(0, 15), st.builds(End, st.booleans(), st.booleans(), st.just(value=False))
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Make few of many rows often."""
    monkeypatch.setattr(panes, "_ROOM", 2)


class Flow:
    """Partitions whose records go to key groups and whose answers come back, without an engine."""

    def __init__(self, stated, streams) -> None:
        self.features = Features(SOURCE, stated)
        self.columns = {**COLUMNS, "watermark": TIME, **self.features.marks}
        self.columns |= self.features.columns
        self.streams = [framed(p, rows) for p, rows in enumerate(streams)]
        own = [self.features.make(BOUND) for _ in streams]
        self.judged = [o.advance(f) for o, f in zip(own, self.streams, strict=True)]
        self.n = len(streams)
        self.at = [0] * self.n
        questions = self.features.questions
        self.requests = Requests(questions, BOUND)
        lag = self.requests.longest_lag
        self.groups = [Durable(lambda: KeyGroup(questions, lag)) for _ in range(GROUPS)]
        self.held = [Assembly(questions, self.columns) for _ in streams]
        self.wires: dict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.out: list[list[pl.DataFrame]] = [[] for _ in streams]
        self.told = [-1] * self.n
        self.begin()

    def begin(self) -> None:
        for group in self.groups:
            group.begin()

    def read(self, partition: int, size: int, *, idle: bool = False, end: bool = False) -> None:
        frame = self.judged[partition].slice(self.at[partition], size)
        self.at[partition] += frame.height
        # Every other offset is no record.
        offset = 2 * self.at[partition] - 1
        times = self.judged[partition]["event_time"].head(self.at[partition]).dt.timestamp()
        mark = END_OF_INPUT if end else max(times, default=-(2**62) + BOUND) - BOUND
        progress = Progress(
            "t", partition, self.n, offset, mark, idle=idle and not frame.height
        )
        batch = Batch(progress, frame)
        self.held[partition].add(batch)
        if frame.height:
            self.held[partition].add(Aside("aside", frame.select(*COORDINATES)))
        routed = self.requests.make(batch)
        for group in range(GROUPS):
            rows = {}
            for number, each in enumerate(routed):
                mine = key_groups(each[HASH].to_numpy(), GROUPS) == group
                if mine.any():
                    rows[number] = each.filter(pl.Series(mine))
            self.wires[partition, group].append((progress, rows))

    def arrive(self, wires) -> None:
        """Let all that is on its way there arrive, in one activation of each group."""
        for group in {to for _, to in wires}:
            progress, rows = [], defaultdict(list)
            for wire in sorted(wires):
                while wire[1] == group and self.wires[wire]:
                    one, some = self.wires[wire].popleft()
                    progress.append(one)
                    for number, each in some.items():
                        rows[number].append(each)
            joined = {number: pl.concat(each) for number, each in rows.items()}
            for answer in self.groups[group].state.advance(progress, joined):
                parts = answer.rows.partition_by(PARTITION, as_dict=True)
                for (partition,), mine in parts.items():
                    self.held[partition].add(Answer(answer.question, mine))
        for partition, held in enumerate(self.held):
            for item in held.release():
                if isinstance(item, Batch):
                    self.out[partition].append(item.frame)
                    self.told[partition] = item.progress.offset
                else:
                    # What is told of comes with it, in this epoch.
                    assert item.rows["source_offset"].max() <= self.told[partition]
                    self.aside.append(item.rows)

    aside: list[pl.DataFrame]

    def run(self, steps, ends) -> pl.DataFrame:
        self.aside = []
        for number, (partition, size, idle, at_once) in enumerate(steps):
            if partition < self.n:
                self.read(partition, size, idle=idle)
                if at_once:
                    self.arrive([w for w in self.wires if (number + w[1]) % 2])
            if number in ends:
                self.end_epoch(ends[number])
        for partition in range(self.n):
            self.read(partition, 100, end=True)
        self.end_epoch(End())
        empty = pl.DataFrame(schema=self.columns)
        made = pl.concat([empty, *(frame for out in self.out for frame in out)])
        assert made.select(*COORDINATES).equals(pl.concat(self.streams).select(*COORDINATES)), (
            "all records, once each, in order"
        )
        sides = pl.concat([pl.DataFrame(schema=COORDINATES), *self.aside])
        assert sides.sort(*COORDINATES).equals(made.select(*COORDINATES).sort(*COORDINATES))
        return made

    def end_epoch(self, how) -> None:
        self.arrive(list(self.wires))
        for group in self.groups:
            group.end(how)
        if how.resume:
            dumped = [pickle.loads(pickle.dumps(each.dump())) for each in self.held]
            again = [Assembly.load(self.features.questions, self.columns, d) for d in dumped]
            self.held = again
        self.begin()


@given(features(), partitions(), steps, epochs)
def test_any_arrival_and_resumes_give_what_the_model_says(stated, streams, steps, ends):
    flow = Flow(stated, streams)
    made = flow.run(steps, ends)
    assert made.schema == flow.columns
    rows = made.to_dicts()
    for feature in stated:
        told = [value_of(feature, rows, row) for row in rows]
        assert alike(made[feature.name].to_list(), told), feature
    if not any(idle for _, _, idle, _ in steps):
        assert made["woken_at"].null_count() == made.height
    # From the table alone, in another order, the same is made.
    assert whole(flow, made).equals(made)


def whole(flow, table):
    """Make the features anew of what the table has."""
    past = table.drop(flow.features.columns)
    state = WholeFeatures(flow.features, BOUND, flow.n, flow.columns)
    found = []
    for partition in reversed(range(flow.n)):
        mine = past.filter(pl.col("source_partition") == partition)
        for at in range(0, max(mine.height, 1), 5):
            found += state.advance(partition, mine.slice(at, 5))
    found += state.end()
    empty = pl.DataFrame(schema=flow.columns)
    return pl.concat([empty, *(frame for _, frame in found)]).sort(*COORDINATES)

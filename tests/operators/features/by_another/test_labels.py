"""Features from labels, whatever comes when, against a loop over all that was known."""

import pickle
from collections import defaultdict, deque
from typing import Any

import polars as pl
import pytest
from hypothesis import given

from operators.columns.hashing import key_groups
from operators.features import Features, WholeFeatures
from operators.features.by_another import (
    Answer,
    Assembly,
    KeyGroup,
    LabelJudge,
    LabelRows,
    Requests,
    label_log,
)
from operators.records.batches import END_OF_INPUT, Batch, Progress
from operators.records.tables import COORDINATES, TIME
from operators.state.event_time_buffer import HASH, PARTITION
from tests.operators.durable import Durable, End
from tests.operators.features.by_another.labelled import (
    EVENT_COLUMNS,
    LATENESS,
    SOURCE,
    epochs,
    events,
    features,
    judged,
    labels,
    steps,
    value_of,
)
from tests.operators.features.by_another.model import (
    BOUND,
    GROUPS,
    framed,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Make two runs of few labels."""
    monkeypatch.setattr(label_log, "_FEW", 3)
    monkeypatch.setattr(label_log, "_SHARE", 2)


class Flow:
    """Events and labels that go to key groups, and answers that come back, without an engine."""

    def __init__(self, stated, streams, known) -> None:
        self.features = Features(SOURCE, stated)
        questions = self.features.questions
        self.columns = {**EVENT_COLUMNS, "watermark": TIME, **self.features.marks}
        self.columns |= self.features.columns
        self.requests = Requests(questions, BOUND)
        self.rows = LabelRows(questions, "event")
        lag = self.requests.longest_lag
        self.groups = [Durable(lambda: KeyGroup(questions, lag, "l")) for _ in range(GROUPS)]
        own = [self.features.make(BOUND) for _ in streams]
        streams = [framed(number, rows) for number, rows in enumerate(streams)]
        self.frames = {
            ("t", number): each.advance(frame)
            for number, (each, frame) in enumerate(zip(own, streams, strict=True))
        }
        for number, rows in enumerate(known):
            self.frames["l", number] = judged(number, rows)
        self.counts = {"t": len(streams), "l": len(known)}
        self.bounds = {"t": BOUND, "l": LATENESS}
        self.at = dict.fromkeys(self.frames, 0)
        self.held = [Assembly(questions, self.columns) for _ in streams]
        self.wires: dict[Any, deque[Any]] = defaultdict(deque)
        self.out: list[pl.DataFrame] = []
        self.table: list[pl.DataFrame] = []
        self.judge = LabelJudge(lambda offsets: {})
        self.heard: list[Progress] = []
        self.begin()

    def begin(self) -> None:
        for group in self.groups:
            group.begin()

    def read(self, topic, number, size, *, idle=False, end=False) -> None:
        whole, at = self.frames[topic, number], self.at[topic, number]
        frame = whole.slice(at, size)
        self.at[topic, number] += frame.height
        times = whole["event_time"].head(at + frame.height).dt.timestamp()
        bound = self.bounds[topic]
        mark = END_OF_INPUT if end else max(times, default=-(2**62) + bound) - bound
        offset = 2 * (at + frame.height) - 1
        progress = Progress(
            topic, number, self.counts[topic], offset, mark,
            idle=idle and not frame.height and topic == "t",
            # Labels are read to their end, or nobody knows.
            caught_up=idle,
        )  # fmt: skip
        batch = Batch(progress, frame)
        if topic == "t":
            self.held[number].add(batch)
            self.heard.append(progress)
            self.route(batch, dict(enumerate(self.requests.make(batch))))
        else:
            self.known([batch])

    def known(self, labels) -> None:
        """Let labels be judged, and events' progress be heard of."""
        heard, self.heard = self.heard, []
        for batch in self.judge.advance(heard, labels):
            self.route(batch, self.rows.make(batch))
            if batch.frame.height:
                self.table.append(batch.frame)

    def route(self, batch, made) -> None:
        progress = batch.progress
        for group in range(GROUPS):
            mine = {
                question: rows.filter(
                    pl.Series(key_groups(rows[HASH].to_numpy(), GROUPS) == group)
                )
                for question, rows in made.items()
            }
            self.wires[progress.topic, progress.partition, group].append((progress, mine))

    def arrive(self, groups) -> None:
        for group in groups:
            progress: list[Progress] = []
            rows: dict[Any, list[pl.DataFrame]] = defaultdict(list)
            for wire in sorted(self.wires):
                while wire[2] == group and self.wires[wire]:
                    one, some = self.wires[wire].popleft()
                    progress.append(one)
                    for question, each in some.items():
                        if each.height:
                            rows[wire[0], question].append(each)
            joined = {side: pl.concat(each) for side, each in rows.items()}
            state = self.groups[group].state
            answers = state.advance(
                progress,
                {question: each for (topic, question), each in joined.items() if topic == "t"},
                {question: each for (topic, question), each in joined.items() if topic == "l"},
            )
            for answer in answers:
                parts = answer.rows.partition_by(PARTITION, as_dict=True)
                for (number,), mine in parts.items():
                    self.held[number].add(Answer(answer.question, mine))
        for held in self.held:
            self.out += [each.frame for each in held.release() if isinstance(each, Batch)]

    def end_epoch(self, how) -> None:
        self.known([])
        self.arrive(range(GROUPS))
        for group in self.groups:
            group.end(how)
        judged = pickle.loads(pickle.dumps(self.judge.freeze()))
        if how.resume:
            self.judge = LabelJudge(lambda offsets: {}, judged)
            dumped = [pickle.loads(pickle.dumps(each.dump())) for each in self.held]
            self.held = [
                Assembly.load(self.features.questions, self.columns, each) for each in dumped
            ]
        self.begin()

    def run(self, steps, ends) -> pl.DataFrame:
        for at, (of_labels, number, size, idle, at_once) in enumerate(steps):
            topic = "l" if of_labels else "t"
            if number < self.counts[topic]:
                self.read(topic, number, size, idle=idle)
                if at_once:
                    self.arrive([at % GROUPS])
            if at in ends:
                self.end_epoch(ends[at])
        for topic, count in self.counts.items():
            for number in range(count):
                self.read(topic, number, 100, end=True)
        self.end_epoch(End())
        made = pl.concat([pl.DataFrame(schema=self.columns), *self.out])
        return made.sort(*COORDINATES)

    def labels(self) -> list[pl.DataFrame]:
        """Return the labels as a table has them: with what each was judged by."""
        empty = self.frames["l", 0].clear().with_columns(pl.lit(None, TIME).alias("woken_at"))
        rows = pl.concat([empty, *self.table]).sort(*COORDINATES)
        return [
            rows.filter(pl.col("source_partition") == number)
            for number in range(self.counts["l"])
        ]


@given(features(), events(), labels(), steps, epochs)
def test_each_event_is_told_what_was_known_by_then(stated, streams, known, steps, ends):
    flow = Flow(stated, streams, known)
    made = flow.run(steps, ends)
    assert made.height == sum(map(len, streams))
    assert made.schema == flow.columns
    tables = flow.labels()
    every = [row for table in tables for row in table.to_dicts()]
    rows = made.to_dicts()
    for feature in stated:
        told = [value_of(feature, every, row) for row in rows]
        assert made[feature.name].to_list() == told, feature
    # From the tables alone the same is made.
    whole = WholeFeatures(flow.features, BOUND, len(streams), flow.columns)
    for number, table in enumerate(tables):
        for at in range(0, table.height, 3):
            assert whole.add_labels(number, len(tables), table.slice(at, 3)) == []
    past, found = made.drop(flow.features.columns), whole.end_labels()
    for number in reversed(range(len(streams))):
        found += whole.advance(number, past.filter(pl.col("source_partition") == number))
    found += whole.end()
    again = pl.concat([pl.DataFrame(schema=flow.columns), *(frame for _, frame in found)])
    assert again.sort(*COORDINATES).equals(made)

"""Features from labels, whatever comes when, against a loop over all that was known."""

import pickle
from collections import defaultdict, deque
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.hashing import key_groups
from operators.event_time.watermarks import PartitionWatermark
from operators.features import Feature, Features, Source, WholeFeatures
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
from tests.operators.features.by_another.test_against_the_model import (
    BOUND,
    EPOCH,
    GROUPS,
    MINUTE,
    SECOND,
    framed,
    micros,
)
from tests.operators.features.by_another.test_against_the_model import COLUMNS as EVENT_COLUMNS

LATENESS = 10 * SECOND
COLUMNS = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    "event_time": TIME,
    "event": pl.String(),
    "verdict": pl.String(),
    "shop": pl.String(),
    "card": pl.String(),
    "amount": pl.Int64(),
}
LABELS = Source(COLUMNS, frozenset({"shop", "card", "amount"}), "event")
SOURCE = Source(EVENT_COLUMNS, frozenset({"shop", "tip", "kafka_timestamp"}), "card", LABELS)
WHERES = {
    None: lambda row: True,
    "verdict = 'FRAUD'": lambda row: row["verdict"] == "FRAUD",
    "verdict = 'GENUINE'": lambda row: row["verdict"] == "GENUINE",
}
KINDS = (
    "count", "sum", "mean", "share", "first_time", "last_time", "seconds_since",
    "seconds_since_first",
)  # fmt: skip
PANES = {"10s": SECOND, "10m": MINUTE, "1h": 5 * MINUTE}


@st.composite
def features(draw):
    found = []
    for number in range(draw(st.integers(1, 4))):
        aggregate = draw(st.sampled_from(KINDS))
        horizon, kept = draw(
            st.sampled_from([("10s", None), ("10m", None), ("10m", "1h"), ("1h", None)])
        )
        wheres = sorted(WHERES, key=str)
        stated = {
            "name": f"f{number}",
            "version": 1,
            "description": "A feature.",
            "from": "labels",
            "by": draw(st.sampled_from(["shop", "shop", "card", ["shop", "card"]])),
            "aggregate": aggregate,
            "of": "amount" if aggregate in ("sum", "mean") else None,
            "where": draw(st.sampled_from(wheres[1:] if aggregate == "share" else wheres)),
            "horizon": horizon,
            "kept": kept,
            "lag": draw(st.sampled_from([None, None, "1s", "5m"])),
        }
        found.append(Feature.model_validate(stated))
    return tuple(found)


moves = st.one_of(
    st.integers(-2 * MINUTE, 3 * MINUTE),
    st.sampled_from([0, 0, 1, SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, -10 * MINUTE]),
)


@st.composite
def events(draw):
    found = []
    for _ in range(draw(st.integers(1, 2))):
        time, rows = EPOCH, []
        for _ in range(draw(st.integers(0, 12))):
            time = time + timedelta(microseconds=draw(moves))
            rows.append(
                {
                    "event_time": time,
                    "kafka_timestamp": time,
                    "card": draw(st.sampled_from("ab")),
                    "shop": draw(st.sampled_from(["x", "x", "y", None])),
                    "amount": 1,
                    "tip": None,
                }
            )
        found.append(rows)
    return found


@st.composite
def labels(draw):
    """Labels by partition: of few events, so that many are labelled anew; some are late."""
    found = []
    for partition in range(draw(st.integers(1, 2))):
        time, rows = EPOCH, []
        for _ in range(draw(st.integers(0, 14))):
            time = time + timedelta(microseconds=draw(moves))
            # An event's labels are of one partition; also one that nobody knows, of no shop.
            event = f"{partition}-{draw(st.integers(0, 3))}"
            rows.append(
                {
                    "event_time": time,
                    "event": event,
                    "verdict": draw(st.sampled_from(["FRAUD", "GENUINE"])),
                    "shop": draw(st.sampled_from(["x", "x", "x", "y", None])),
                    "card": draw(st.sampled_from(["a", "a", "b", None])),
                    "amount": draw(st.sampled_from([None, -300, 5, 40])),
                }
            )
        found.append(rows)
    return found


steps = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 1), st.integers(0, 5), st.booleans(), st.booleans()
    ),
    max_size=20,
)
"""Of events or labels, a partition's next records, whether it is idle, and who hears at once."""
epochs = st.dictionaries(
    st.integers(0, 19), st.builds(End, st.booleans(), st.booleans(), st.just(value=False))
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


def judged(number, rows):
    frame = pl.DataFrame(
        [
            {"source_topic": "l", "source_partition": number, "source_offset": 2 * at} | row
            for at, row in enumerate(rows)
        ],
        schema=COLUMNS,
    )
    marks = PartitionWatermark(LATENESS).advance(frame["event_time"].dt.timestamp().to_numpy())
    return frame.with_columns(
        pl.Series("watermark", [None if m < -(2**61) else m for m in marks], pl.Int64()).cast(
            TIME
        )
    )


def since(label) -> int:
    """Return from when a label counts."""
    times = (label["event_time"], label["watermark"], label["woken_at"])
    return max(micros(time) for time in times if time is not None)


def value_of(feature, known, row):
    """Return what the docstrings say of an event: `known` are all labels."""
    pane = PANES[feature.horizon]
    lag = BOUND + MINUTE if feature.lag is None else feature.lag_us
    end = (micros(row["event_time"]) - lag) // pane * pane
    begin = end - feature.horizon_us
    marks = [micros(row[name]) for name in ("watermark", "woken_at") if row[name] is not None]
    if marks:
        begin = max(begin, (max(marks) - lag) // pane * pane - feature.kept_us)
    # The labels are in the order in which they came: of two at a time the later one is newer.
    newest: dict[Any, Any] = {}
    for label in sorted(known, key=since):
        by = [label[name] for name in feature.by]
        if None not in by and since(label) < end:
            newest[label["event"], *by] = label
    key = [row[name] or "" for name in feature.by]
    there = [
        each
        for each in newest.values()
        if since(each) >= begin and [each[name] for name in feature.by] == key
    ]
    picked = [each for each in there if WHERES[feature.where](each)]
    amounts = [each["amount"] for each in picked if each["amount"] is not None]
    times = [since(each) for each in picked]
    match feature.aggregate:
        case "count":
            return len(picked)
        case "sum":
            return sum(amounts)
        case "mean":
            return sum(amounts) / len(amounts) if amounts else None
        case "share":
            return len(picked) / len(there) if there else None
    if not times:
        return None
    time = min(times) if "first" in feature.aggregate else max(times)
    if feature.aggregate in ("first_time", "last_time"):
        return EPOCH + timedelta(microseconds=time - micros(EPOCH))
    return (micros(row["event_time"]) - time) // SECOND


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

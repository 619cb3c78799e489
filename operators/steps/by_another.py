"""Features by another key: events to key groups, and held until the answers are back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic

from operators.columns.frames import stacked
from operators.event_time.watermarks import Bounds
from operators.features import Features
from operators.features.by_another import (
    Answer,
    Aside,
    Assembly,
    KeyGroup,
    Known,
    LabelJudge,
    LabelRows,
    Requests,
)
from operators.metrics import observe_state
from operators.records.batches import Batch, Progress
from operators.state.event_time_buffer import HASH, PARTITION
from operators.steps.routing import Routed, add_rows, by_partition, to_all_groups
from operators.steps.snapshots import KeyedStates, SnapshotLogic, write_shards

_FEWER: Final = 4
"""How many of the flow's key groups one of this step stands for."""

Waiting: TypeAlias = Callable[[str, int], None]
"""Takes a partition's name, and how many of its records are held."""


@dataclass(frozen=True)
class Held:
    """Streams of what was held: batches with all features, and rows by their tables.

    `labels` are the judged ones, if there are any, which nothing holds.
    """

    batches: Stream[Batch]
    asides: Mapping[str, Stream[pl.DataFrame]]
    labels: Stream[Batch] | None = None


@dataclass(frozen=True)
class Labels:
    """The labels of a stream's events: batches with `watermark`, and what a table has of them."""

    topic: str
    batches: Stream[Batch]
    known: Known


def ask(batches: list[Batch], requests: Requests, groups: int) -> list[tuple[str, Routed]]:
    """Return what each key group gets: rows by question, with the last of them the progress."""
    made: dict[int, list[pl.DataFrame]] = {}
    for batch in batches:
        for number, rows in enumerate(requests.make(batch)):
            made.setdefault(number, []).append(rows)
    progress = [batch.progress for batch in batches]
    routed: list[tuple[str, Routed]] = []
    for number, frames in made.items():
        last = number == len(made) - 1
        mine = to_all_groups(progress if last else [], groups, number)
        rows = stacked(frames)
        add_rows(mine, rows, rows[HASH].to_numpy())
        # What comes from one worker arrives in order: nobody hears of progress before the rows.
        routed += [each for each in mine if last or each[1].rows is not None]
    return routed or to_all_groups(progress, groups)


def tell(batches: list[Batch], rows: LabelRows, groups: int) -> list[tuple[str, Routed]]:
    """Return what each key group gets of labels, by question as `_side` has it."""
    progress = [batch.progress for batch in batches]
    made: dict[int, list[pl.DataFrame]] = {}
    for batch in batches:
        for number, one in rows.make(batch).items():
            made.setdefault(number, []).append(one)
    routed: list[tuple[str, Routed]] = []
    for number, frames in made.items():
        mine = to_all_groups([], groups, _side(number))
        every = stacked(frames)
        add_rows(mine, every, every[HASH].to_numpy())
        routed += [each for each in mine if each[1].rows is not None]
    # Nobody hears of progress before the rows.
    return routed + to_all_groups(progress, groups, _side(0))


def _side(question: int) -> int:
    """Return the side that a question's labels are; events are of the question's own number."""
    return -1 - question


class _JudgeLogic(StatefulBatchLogic[Any, Batch, dict[str, Any]]):
    def __init__(self, known: Known, state: dict[str, Any] | None) -> None:
        self._judge = LabelJudge(known, state)

    def on_batch(self, values: list[Any]) -> tuple[list[Batch], bool]:
        events = [each for each in values if isinstance(each, Progress)]
        labels = [each for each in values if isinstance(each, Batch)]
        return self._judge.advance(events, labels), StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        return self._judge.freeze()


def judge(name: str, up: Stream[Batch], labels: Labels) -> Stream[Batch]:
    """Return labels judged by how far the events in `up` had come; see `LabelJudge`."""
    key = labels.topic
    events = op.map(f"{name}labels_events", up, lambda batch: (key, batch.progress))
    given: Stream[Any] = op.map(
        f"{name}labels_given", labels.batches, lambda batch: (key, batch)
    )
    judged = op.stateful_batch(
        f"{name}labels_judged",
        op.merge(f"{name}labels_both", events, given),
        lambda state: _JudgeLogic(labels.known, state),
    )
    return op.key_rm(f"{name}labels_batches", judged)


class _GroupLogic(SnapshotLogic[Routed, KeyGroup]):
    def __init__(
        self, keeping: KeyedStates[KeyGroup], topic: str, head: dict[str, Any] | None
    ) -> None:
        super().__init__(keeping, head)
        self._topic = topic

    def key(self, value: Routed) -> str:
        return str(value.group)

    def advance(self, state: KeyGroup, values: list[Routed]) -> list[Any]:
        progress = [each for value in values for each in value.progress]
        rows: dict[int, list[pl.DataFrame]] = {}
        for value in values:
            if value.rows is not None:
                rows.setdefault(value.side, []).append(value.rows)
        joined = {number: stacked(each) for number, each in rows.items() if number >= 0}
        labels = {-1 - side: stacked(each) for side, each in rows.items() if side < 0}
        return [
            (_key(self._topic, partition), Answer(answer.question, mine))
            for answer in state.advance(progress, joined, labels)
            for partition, mine in by_partition(answer.rows, PARTITION)
        ]


def _key(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"


class _HoldLogic(StatefulBatchLogic[Any, Batch | Aside, dict[str, Any]]):
    def __init__(
        self,
        step: str,
        topic: str,
        features: Features,
        columns: Mapping[str, pl.DataType],
        waiting: Waiting | None,
        state: dict[str, Any] | None,
    ) -> None:
        self._step, self._topic, self._partition = step, topic, -1
        self._waiting = waiting
        if state is None:
            self._held = Assembly(features.questions, columns)
        else:
            self._held = Assembly.load(features.questions, columns, state)

    def on_batch(self, values: list[Any]) -> tuple[list[Batch | Aside], bool]:
        for value in values:
            self._held.add(value)
            if isinstance(value, Batch):
                self._partition = value.progress.partition
        released = self._held.release()
        if self._waiting is not None:
            self._waiting(_key(self._topic, self._partition), self._held.rows)
        return released, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        state = self._held.dump()
        key = _key(self._topic, self._partition)
        observe_state(self._step, key, self._held.rows, state)
        return state


def hold(
    name: str,
    up: Stream[Batch],
    features: Features,
    bound: int | Bounds,
    groups: int,
    topic: str,
    columns: Mapping[str, pl.DataType],
    asides: Mapping[str, Stream[pl.DataFrame]],
    labels: Labels | None = None,
    waiting: Waiting | None = None,
) -> Held:
    """Add features by another key; what is held for them holds all that comes of its partition.

    `columns` are those that events have in the end; `asides` are rows by the names of their tables,
    with coordinates. Who is told of a batch's progress so has all rows that it accounts for. The
    default lag is `bound`, in µs, and a minute; `name` begins the steps' names. `labels` are needed
    where features are from them, and come back judged. `waiting` hears how many records are held.
    """
    requests = Requests(features.questions, bound)
    # Each group costs something of its own, and this is little of what a worker has to do.
    groups = max(groups // _FEWER, 1)
    lag = requests.longest_lag
    of_labels, judged = (None if labels is None else labels.topic), None
    keeping = KeyedStates(f"{name}panes", lambda: KeyGroup(features.questions, lag, of_labels))
    asked = op.flat_map_batch(f"{name}ask", up, lambda batches: ask(batches, requests, groups))
    if labels is not None and features.labels is not None:
        judged = judge(name, up, labels)
        of = LabelRows(features.questions, features.labels.key)
        told = op.flat_map_batch(
            f"{name}tell", judged, lambda batches: tell(batches, of, groups)
        )
        asked = op.merge(f"{name}asked_and_told", asked, told)
    answered = op.stateful_batch(
        f"{name}panes", asked, lambda head: _GroupLogic(keeping, topic, head)
    )
    answers = write_shards(f"{name}panes_kept", answered, keeping)
    whole = op.map(
        f"{name}hold_batches", up, lambda batch: (_key(topic, batch.progress.partition), batch)
    )
    rows = [
        op.flat_map(f"{name}hold_{_plain(table)}", each, partial(_aside, topic, table))
        for table, each in asides.items()
    ]
    held: Any = op.stateful_batch(
        f"{name}held",
        op.merge(f"{name}hold", whole, answers, *rows),
        lambda state: _HoldLogic(f"{name}held", topic, features, columns, waiting, state),
    )
    both = op.branch(
        f"{name}released",
        op.key_rm(f"{name}released_items", held),
        lambda item: isinstance(item, Batch),
    )
    return Held(
        both.trues,
        {
            table: op.flat_map(f"{name}released_{_plain(table)}", both.falses, _of_table(table))
            for table in asides
        },
        judged,
    )


def _plain(table: str) -> str:
    return table.replace("/", "_")


def _aside(topic: str, table: str, rows: pl.DataFrame) -> list[tuple[str, Aside]]:
    if rows.height == 0:
        return []
    parts = by_partition(rows, "source_partition")
    return [(_key(topic, partition), Aside(table, mine)) for partition, mine in parts]


def _of_table(table: str) -> Callable[[Aside], list[pl.DataFrame]]:
    return lambda aside: [aside.rows] if aside.table == table else []

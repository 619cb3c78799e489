"""What a partition's assembly holds, and lets go on together."""

import pickle

import numpy as np
import polars as pl
import pytest

from operators.features import Features
from operators.features.by_another import Answer, Aside, Assembly
from operators.features.by_another.requests import MARK
from operators.records.batches import NO_WATERMARK, Batch, Progress
from operators.records.tables import COORDINATES, TIME
from operators.state.event_time_buffer import OFFSET, PARTITION
from tests.operators.features.by_another.model import COLUMNS, SOURCE
from tests.operators.features.by_another.test_requests import COUNT

FEATURES = Features(SOURCE, (COUNT,))
WHOLE = {**COLUMNS, "watermark": TIME, **FEATURES.marks, **FEATURES.columns}


def frame(*offsets: int) -> pl.DataFrame:
    rows = [{"source_partition": 0, "source_offset": each, "card": "a"} for each in offsets]
    return pl.DataFrame(rows, schema={**COLUMNS, "watermark": TIME})


def batch(until: int, *offsets: int) -> Batch:
    return Batch(Progress("t", 0, 1, until), frame(*offsets))


def answer(*offsets: int) -> Answer:
    (name,) = FEATURES.questions[0].answers.values()
    rows = {
        PARTITION: np.zeros(len(offsets), np.int32),
        OFFSET: np.array(offsets),
        MARK: np.full(len(offsets), NO_WATERMARK),
        name: np.array(offsets) * 10,
    }
    return Answer(0, pl.DataFrame(rows))


def aside(*offsets: int) -> Aside:
    return Aside("bronze", frame(*offsets).select(*COORDINATES))


def told(items: list[Batch | Aside]) -> list[tuple[str | int, list[int]]]:
    """Return by item the offset that its progress tells, or its table, and the rows' offsets."""
    return [
        (item.progress.offset, item.frame["source_offset"].to_list())
        if isinstance(item, Batch)
        else (item.table, item.rows["source_offset"].to_list())
        for item in items
    ]


def test_all_that_came_of_records_goes_on_when_all_of_their_batch_is_answered():
    held = Assembly(FEATURES.questions, WHOLE)
    for item in (answer(3), aside(0, 1, 2, 3), batch(2, 0, 2), batch(4, 3), batch(9)):
        held.add(item)
    assert held.release() == []
    assert held.rows == 3
    state = pickle.loads(pickle.dumps(held.dump()))
    held = Assembly.load(FEATURES.questions, WHOLE, state)
    held.add(answer(2))
    assert held.release() == []
    held.add(answer(0))
    found = held.release()
    assert told(found) == [
        (2, [0, 2]), (4, [3]), (9, []), ("bronze", [0, 1, 2, 3])
    ]  # fmt: skip
    assert [each.frame["few"].to_list() for each in found[:3]] == [[0, 20], [30], []]
    assert all(each.frame.schema == WHOLE for each in found[:3])
    assert held.rows == 0
    # What is behind the batches, in the same epoch, does not wait.
    held.add(aside(4, 9, 10))
    assert told(held.release()) == [("bronze", [4, 9])]
    held.add(batch(10))
    assert told(held.release()) == [(10, []), ("bronze", [10])]


def test_what_was_held_before_a_field_was_added_has_it_as_null():
    held = Assembly(FEATURES.questions, WHOLE)
    held.add(batch(1, 1))
    more = WHOLE | {"new": pl.Int32()}
    held = Assembly.load(FEATURES.questions, more, held.dump())
    held.add(answer(1))
    (found,) = held.release()
    assert found.frame.schema == more
    assert found.frame["new"].to_list() == [None]


def test_those_of_the_past_wait_for_nothing_but_their_turn():
    held = Assembly(FEATURES.questions, WHOLE)
    held.add(Batch(Progress("t", 0, 1, 4, past=True), frame(1, 4)))
    (found,) = held.release()
    assert found.frame.schema == WHOLE
    assert found.frame["few"].to_list() == [None, None]


def test_what_says_that_more_has_closed_is_never_of_one_epoch_with_what_was_held_before_it():
    held = Assembly(FEATURES.questions, WHOLE)
    closed = Batch(Progress("t", 0, 1, 1, closed=300), frame())
    for item in (batch(1, 1), closed, Batch(Progress("t", 0, 1, 2, closed=300), frame(2))):
        held.add(item)
    # As a flow that ended meanwhile finds it.
    held = Assembly.load(FEATURES.questions, WHOLE, held.dump())
    held.add(answer(1, 2))
    assert told(held.release()) == [(1, [1])]
    assert held.release() == []
    held = Assembly.load(FEATURES.questions, WHOLE, held.dump())
    assert told(held.release()) == [(1, []), (2, [2])]


def test_a_state_of_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="held batches of state version 9"):
        Assembly.load(FEATURES.questions, WHOLE, {"version": 9})

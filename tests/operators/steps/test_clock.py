"""The clock's side of the steps that make watermarks: when a partition is idle, across restarts."""

import pickle

import numpy as np
import polars as pl
import pytest

from flows.streams import PAYMENTS
from operators.records.batches import Batch, Progress
from operators.records.tables import TIME
from operators.steps import features, watermarks
from operators.steps.snapshots import KeyedStates


class Time:
    """What the step takes for the module `time`."""

    def __init__(self) -> None:
        self.wall, self.even = 1_800_000_000.0, 5.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.even += seconds

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.even


@pytest.fixture
def clock(monkeypatch) -> Time:
    made = Time()
    monkeypatch.setattr(watermarks, "time", made)
    return made


def batch(events: int, *, caught_up: bool = True) -> Batch:
    columns = {
        "event_time": pl.Series(np.arange(events)).cast(TIME),
        "card_id": pl.Series(["card"] * events, dtype=pl.String()),
        "amount_minor": pl.Series(np.ones(events, np.int64)),
        "latitude": pl.Series([None] * events, dtype=pl.Float64()),
        "longitude": pl.Series([None] * events, dtype=pl.Float64()),
    }
    return Batch(Progress("t", 0, 1, caught_up=caught_up), pl.DataFrame(columns))


def marks(state=None):
    return watermarks._PartitionLogic(30, 60.0, state)


def cards(state=None):
    return features._PartitionLogic(
        KeyedStates("cards", lambda: PAYMENTS.features.make(30)), 60.0, state
    )


def told(logic, made: Batch) -> tuple[bool, float]:
    ((out,), _) = logic.on_batch([made])
    return out.progress.idle, out.progress.quiet


@pytest.mark.parametrize("make", [marks, cards])
def test_silence_goes_on_while_the_flow_is_down_and_its_clock_is_another(clock, make):
    logic = make()
    assert told(logic, batch(1)) == (False, 0.0)
    clock.pass_(40)
    assert told(logic, batch(0)) == (False, 40.0)
    state = pickle.loads(pickle.dumps(logic.snapshot()))
    clock.pass_(30)
    clock.even = 1.0
    logic = make(state)
    assert told(logic, batch(0, caught_up=False)) == (False, pytest.approx(70.0))
    assert told(logic, batch(0)) == (True, pytest.approx(70.0))
    assert told(logic, batch(1)) == (False, 0.0)


@pytest.mark.parametrize("make", [marks, cards])
def test_a_wall_clock_that_was_set_back_makes_no_silence(clock, make):
    logic = make()
    told(logic, batch(1))
    state = logic.snapshot()
    clock.wall -= 3_600
    assert told(make(state), batch(0)) == (False, 0.0)


@pytest.mark.parametrize("make", [marks, cards])
def test_a_state_of_the_release_before_is_silent_from_its_resume_on(clock, make):
    logic = make()
    told(logic, batch(1))
    state = logic.snapshot()
    del state["heard"]
    if make is marks:
        assert state.pop("version") == 2
        state["version"] = 1
    clock.pass_(500)
    logic = make(state)
    assert told(logic, batch(0)) == (False, 0.0)
    clock.pass_(61)
    assert told(logic, batch(0)) == (True, 61.0)


def test_a_state_of_a_release_to_come_is_refused():
    with pytest.raises(ValueError, match="state version 3"):
        marks({"version": 3, "largest": 0})

"""Outages by a clock of the test's own: what is said, and how long is waited."""

import logging
import math
from collections.abc import Callable

import pytest

from operators.connectors.outage import Outage, wait_for
from operators.connectors.shutdown import Shutdown

LOG = logging.getLogger("millstream.test")


class AwayError(RuntimeError):
    pass


class Clock(Shutdown):
    """Time that passes by sleeping alone; with `told`, the flow is told to end then."""

    def __init__(self, told: float = math.inf) -> None:
        self.now, self.told = 0.0, told

    @property
    def requested(self) -> bool:
        return self.now >= self.told

    @property
    def left(self) -> float:
        return max(self.told + 4 - self.now, 0)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def away_until(clock: Clock, back: float, takes: float = 0.0) -> Callable[[], str]:
    def call() -> str:
        clock.now += takes
        if clock.now < back:
            raise ConnectionError("refused")
        return "answer"

    return call


def outage(clock: Clock) -> Outage:
    return Outage("Redis at h", LOG, AwayError, "look at MILLSTREAM_X", clock, service="redis")


def wait(clock: Clock, back: float, takes: float = 0.0, patience: float = 120.0) -> str:
    call = away_until(clock, back, takes)
    return wait_for(
        call, (ConnectionError,), outage(clock), patience=patience, shutdown=clock,
        sleep=clock.sleep,
    )  # fmt: skip


def test_an_outage_is_a_line_when_it_begins_one_a_minute_and_one_when_it_ends(caplog):
    clock = Clock()
    assert wait(clock, back=85) == "answer"
    begin, minute, end = caplog.messages
    assert begin == "waiting for Redis at h: refused"
    assert minute.startswith("waiting for Redis at h for 6")
    assert end.startswith("Redis at h is back after 8")


def test_what_was_never_away_is_not_spoken_of(caplog):
    assert wait(Clock(), back=0) == "answer"
    assert not caplog.messages


def test_it_is_given_up_after_the_patience_with_what_to_look_at():
    clock = Clock()
    with pytest.raises(
        AwayError, match=r"^Redis at h: refused \(tried for \d+ s\); look at MIL"
    ):
        wait(clock, back=1e9, patience=60)
    assert 50 < clock.now <= 60


@pytest.mark.parametrize("told", [0.0, 0.05, 30.0])
@pytest.mark.parametrize("takes", [0.0, 3.0])
def test_told_to_end_it_waits_a_few_seconds_more(told: float, takes: float):
    clock = Clock(told)
    with pytest.raises(AwayError, match=r"the next start reads it again, nothing is lost$"):
        wait(clock, back=1e9, takes=takes)
    assert told + 4 <= clock.now <= told + 8


def test_what_comes_back_in_that_time_is_taken():
    assert wait(Clock(told=30), back=33) == "answer"


def test_other_errors_pass_through_at_once(caplog):
    def call() -> str:
        raise ValueError("no outage")

    with pytest.raises(ValueError, match="no outage"):
        wait_for(call, (ConnectionError,), outage(Clock()))
    assert not caplog.messages


def test_until_it_is_told_the_flow_has_all_the_time():
    shutdown = Shutdown()
    assert shutdown.left == math.inf
    shutdown._ask(2, None)
    assert 3 < shutdown.left <= 4

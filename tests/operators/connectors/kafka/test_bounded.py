"""Bounded runs: the partitions of a process end together."""

import logging

import pytest

from operators.connectors.kafka import bounded
from operators.connectors.kafka.bounded import NEVER, Bounded
from operators.connectors.shutdown import Shutdown


def two(*, closes_windows: bool = False, bound: int = 5) -> tuple[Shutdown, Bounded, Bounded]:
    shutdown = Shutdown()
    first, other = (
        Bounded(shutdown, name, bound, closes_windows=closes_windows) for name in ("t/0", "t/1")
    )
    return shutdown, first, other


def test_who_is_at_its_end_rests_until_the_others_are_there():
    shutdown, first, other = two()
    first.read(4)
    assert not first.reached
    first.read(6)
    assert first.reached
    for _ in range(3):
        first.snapshot()
        first.speak()
        assert not first.over
    other.read(2, to_the_end=True)
    assert shutdown.all_read
    # Idle partitions' floors rise at this snapshot, and the batch behind it tells of them.
    for each in (first, other):
        assert not each.over
        each.snapshot()
        assert not each.over
        each.speak()
        assert each.over


def test_at_the_end_of_all_time_they_end_at_once():
    _, first, other = two(closes_windows=True)
    first.read(5)
    assert first.closed
    assert not first.over
    other.read(5)
    assert first.over
    assert other.over


@pytest.mark.parametrize("bound", [5, NEVER])
def test_who_is_told_to_end_does_wherever_it_is(bound):
    shutdown, first, _ = two(bound=bound)
    first.read(1)
    assert not first.over
    shutdown.requested = True
    assert first.over


def test_a_flow_without_an_end_has_none_though_it_has_read_everything():
    _, first, other = two(bound=NEVER)
    for each in (first, other):
        each.read(9, to_the_end=True)
        each.snapshot()
        each.speak()
        assert not each.reached
        assert not each.over


def test_who_leaves_is_not_waited_for():
    shutdown, first, other = two()
    other.leave()
    first.read(5)
    assert shutdown.all_read
    first.snapshot()
    first.speak()
    assert first.over


def test_while_records_are_held_they_rest_until_all_have_been_silent_for_long_enough(
    monkeypatch, caplog
):
    now = 100.0
    monkeypatch.setattr(bounded.time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    shutdown = Shutdown()
    run = Bounded(shutdown, "t/0", 5, closes_windows=False, patience=60.0)
    shutdown.wait("t/0", 7)
    shutdown.wait("t/1", 3)
    run.read(5)

    def epoch(seconds: float) -> bool:
        nonlocal now
        now += seconds
        run.snapshot()
        run.speak()
        return run.over

    # It is silent from the first epoch on that has heard of its last records.
    assert not epoch(100)
    assert "10 records wait" in caplog.text
    assert not epoch(59)
    # Floors rise at the snapshot behind what says that it has been silent for long enough.
    assert not epoch(2)
    assert epoch(1)
    assert len(caplog.records) == 1


def test_they_end_as_soon_as_nothing_is_held_and_at_once_if_they_are_told_to():
    shutdown = Shutdown()
    run = Bounded(shutdown, "t/0", 5, closes_windows=False, patience=60.0)
    shutdown.wait("t/0", 7)
    run.read(5)
    run.snapshot()
    run.speak()
    assert not run.over
    shutdown.requested = True
    assert run.over
    shutdown.requested = False
    shutdown.wait("t/0", 0)
    run.snapshot()
    run.speak()
    assert run.over

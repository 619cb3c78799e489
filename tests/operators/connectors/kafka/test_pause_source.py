"""Rules that have paused themselves, as a flow hears of them across resumes."""

import time

import pytest

from operators.connectors.kafka import control_topic
from operators.connectors.kafka.control_reader import ControlReader
from operators.connectors.kafka.pause_source import PauseSource
from operators.connectors.shutdown import Shutdown
from operators.control.changes import Change, written
from operators.control.pauses import AUTHOR, LEFT
from ops.local import Stack
from tests.operators.rules.samples import rule


def pause(version: int) -> tuple[bytes, bytes]:
    paused = rule().model_copy(update={"status": "paused", "version": version})
    return written("rule", paused.id, paused, f"{AUTHOR}0", f"{LEFT}often")


def offsets(found: list[Change]) -> list[int]:
    return [each.offset for each in found]


def test_each_pause_comes_once_and_a_resume_goes_on_behind_what_was_durable(
    stack: Stack,
) -> None:
    config = {"bootstrap.servers": stack.bootstrap}
    topic = f"pauses-{time.time_ns()}"
    identity = control_topic.ensure(config, topic, 10)
    by_hand = written("rule", "r", rule(), "eve", "tried")
    control_topic.send(config, topic, [pause(1), pause(1), by_hand, pause(2)], 10)
    reader = ControlReader(config, topic, identity, lambda _: None)
    reader.start(10)
    stopping = Shutdown()
    source = PauseSource(reader, stop_at_end=False, shutdown=stopping)
    (name,) = source.list_parts()
    part = source.build_part("pauses", name, None)
    ((progress, found),) = part.next_batch()
    assert (progress.topic, progress.offset, offsets(found)) == (topic, 3, [0, 3])
    assert part.next_batch() == []
    # In each epoch it says how far it is.
    state = part.snapshot()
    ((progress, found),) = part.next_batch()
    assert (progress.offset, found) == (3, [])

    control_topic.send(config, topic, [pause(3)], 10)
    reader.wait(time.time_ns() // 1000)
    deadline = time.monotonic() + 30
    while not reader.pauses_from(4) and time.monotonic() < deadline:
        time.sleep(0.05)
    ((progress, found),) = part.next_batch()
    assert (progress.offset, offsets(found)) == (4, [4])
    resumed = source.build_part("pauses", name, state)
    ((_, found),) = resumed.next_batch()
    assert offsets(found) == [4]
    with pytest.raises(ValueError, match="pauses of state version 9"):
        source.build_part("pauses", name, {**state, "version": 9})
    # Of a topic that was made anew nothing was heard yet.
    other = source.build_part("pauses", name, {**state, "topic": "another"})
    ((_, found),) = other.next_batch()
    assert offsets(found) == [0, 3, 4]
    stopping.requested = True
    with pytest.raises(StopIteration):
        part.next_batch()
    bounded = PauseSource(reader, stop_at_end=True, shutdown=Shutdown())
    last = bounded.build_part("pauses", name, part.snapshot())
    assert [offsets(found) for _, found in last.next_batch()] == [[]]
    # Also where an epoch has ended since, as short ones do: else it would go on for ever.
    last.snapshot()
    with pytest.raises(StopIteration):
        last.next_batch()

"""Hold-ups: which partition the flow's watermark waits for while records come, and why."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from logging import Logger
from typing import Final

from operators import metrics
from operators.event_time.multi_topic import MultiTopicWatermark
from operators.event_time.watermarks import FlowWatermark, ended
from operators.records.batches import NO_WATERMARK, Progress

PATIENCE: Final = 60.0
"""For how long, in s, the watermark may stand still before a line says so, and between lines."""


@dataclass(frozen=True, slots=True)
class Held:
    """The partition that is waited for, and for how many s the watermark has stood still."""

    topic: str
    partition: int
    seconds: float


class HoldUp:
    """Watches a flow's watermark, as of each snapshot.

    It is held up when it stands still while records come, or are there to be read: a topic that
    is at its end makes nobody wait. What is said of that is a line when it has lasted for
    `PATIENCE`, one each time that it has again, and one when it is over.
    """

    def __init__(self, now: float) -> None:
        """`now` is of a clock that goes on evenly, in s."""
        self._mark = NO_WATERMARK
        self._moved = self._looked = now
        self._offsets: dict[tuple[str, int], int] = {}
        self._said: float | None = None
        self.held: Held | None = None

    def look(self, flow: FlowWatermark | MultiTopicWatermark, now: float) -> list[str]:
        """Return what is to be said; `held` then tells who is waited for, if anyone."""
        offsets = {(each.topic, each.partition): each.offset for each in flow.seen}
        last, looked = flow.waits_for, self._looked
        self._looked = now
        if last is None or flow.current != self._mark or ended(flow.current):
            return self._move_on(flow.current, offsets, now)
        if offsets == self._offsets and not last.behind:
            self.held = None
            return []
        seconds = now - self._moved
        self.held = Held(last.topic, last.partition, seconds)
        # The partition's progress is of a batch since the last look.
        eventful = looked - last.quiet > self._moved
        silent = last.caught_up and not eventful
        # One that is idle in the next epoch has held up nobody for long.
        awaited = min(seconds, last.quiet) if silent else seconds
        if awaited < PATIENCE or (self._said is not None and now - self._said < PATIENCE):
            return []
        self._said = now
        place = last.topic, last.partition
        came = offsets[place] != self._offsets.get(place)
        return [
            f"the flow's watermark stands {_at(self._mark)} since {seconds:.0f} s, and windows "
            f"wait, for {last.topic}/{last.partition}: {_why(last, came, eventful)}"
        ]

    def _move_on(self, mark: int, offsets: dict[tuple[str, int], int], now: float) -> list[str]:
        lines = []
        if self._said is not None:
            stood = now - self._moved
            lines = [f"the flow's watermark goes on after {stood:.0f} s, {_at(mark)}"]
        self._mark, self._moved, self._offsets = mark, now, offsets
        self._said = self.held = None
        return lines


def watch(hold_up: HoldUp, flow: FlowWatermark | MultiTopicWatermark, log: Logger) -> None:
    """Look once an epoch: log what is to be said, and show for how long who is waited for."""
    for line in hold_up.look(flow, time.monotonic()):
        log.warning("%s", line)
    held, waits = hold_up.held, flow.waits_for
    if flow.current != NO_WATERMARK and not ended(flow.current):
        metrics.FLOW_WATERMARK.set(flow.current / 1e6)
    for each in flow.seen:
        awaited = waits and (waits.topic, waits.partition) == (each.topic, each.partition)
        metrics.WATERMARK_WAITS.labels(each.topic, each.partition).set(bool(awaited))
        mine = held and (held.topic, held.partition) == (each.topic, each.partition)
        seconds = held.seconds if held and mine else 0
        metrics.WATERMARK_HELD.labels(each.topic, each.partition).set(seconds)


def _at(watermark: int) -> str:
    if watermark == NO_WATERMARK:
        return "before the first event"
    if ended(watermark):
        return "at the end of all event time"
    return f"at {datetime.fromtimestamp(watermark // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _why(last: Progress, came: bool, eventful: bool) -> str:
    if last.blocked:
        return (
            f"behind offset {last.offset} a transaction is open, and what follows can't be read "
            "before its producer ends it"
        )
    if last.behind:
        return f"{last.behind} records are still to be read"
    if not last.caught_up:
        return "its end was not seen since the start"
    if eventful:
        return "its events are none of them newer than those before"
    what = "only refused or repeated records come" if came else "it is silent"
    if last.idle:
        return f"{what}, and so it is with every other partition"
    return f"{what}, {last.quiet:.0f} s now, which is not yet its idle timeout"

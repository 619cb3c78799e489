"""Health: what a process is at, told by where it is in its topics, for probes and for people.

It is *starting* until its state is there and an epoch has ended; then *running*, *lagging* while
it falls behind, *paused* where the breaker holds a partition, and *stuck* once it has shown
nothing for half of the time after which the watchdog ends it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from flows import watchdog
from flows.reporting import samples
from flows.told import ENABLED
from operators import metrics
from operators.connectors.pulse import PULSE, Pulse

STATES: Final = ("starting", "running", "lagging", "paused", "stuck")

WINDOW: Final = 60.0
"""Seconds: a partition lags with more to read than it reads in so long, and no end in all of it."""

_LOOKS: Final = 12
"""Within that time. A sixth of it has to be known of a process."""

_STUCK: Final = 0.5

Place: TypeAlias = tuple[str, str]
"""A topic and a partition."""

Look: TypeAlias = tuple[float, dict[Place, tuple[float, float]]]
"""A time in s; by partition how many records were read by then, and how many there were to read."""


def behind(looks: Sequence[Look], window: float) -> dict[Place, int]:
    """Return the partitions that lag as of the last of some looks, with what they have to read.

    Say within 10 s one has read 100 records, and 5,000 are left: in a minute it reads 600.

    >>> behind([(0.0, {("t", "0"): (0, 5_000)}), (10.0, {("t", "0"): (100, 5_000)})], 60.0)
    {('t', '0'): 5000}

    One whose end is not known, or was reached meanwhile, does not.

    >>> behind([(0.0, {("t", "0"): (0, 0)}), (10.0, {("t", "0"): (100, 5_000)})], 60.0)
    {}
    """
    if not looks or (span := looks[-1][0] - looks[0][0]) < window / 6:
        return {}
    found = {}
    for place, (read, left) in looks[-1][1].items():
        # What is not known is no number, which is not above 0.
        if all(place in each and each[place][1] > 0 for _, each in looks):
            rate = (read - looks[0][1][place][0]) / span
            if left > rate * window:
                found[place] = int(left)
    return found


class Health:
    """Looks now and then at what the metrics show, and tells the state when it is asked."""

    def __init__(self, pulse: Pulse = PULSE, window: float = WINDOW) -> None:
        self._pulse, self._window = pulse, window
        self._looks: deque[Look] = deque(maxlen=_LOOKS + 1)

    def start(self) -> None:
        """Begin to look, from a thread of its own, and show the state among the metrics."""
        for name in STATES:
            metrics.STATE.labels(name).set_function(partial(self._is, name))
        metrics.STALL.set_function(watchdog.share)
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def _is(self, name: str) -> float:
        return float(self.state() == name)

    def _run(self) -> None:
        while True:
            self.look(time.monotonic())
            time.sleep(self._window / _LOOKS)

    def look(self, now: float) -> None:
        """Take note of how far the process is, at a time in s."""
        left, read = _by_place(metrics.OFFSET_LAG), _by_place(metrics.RECORDS, "_total")
        self._looks.append(
            (now, {place: (read.get(place, 0.0), n) for place, n in left.items()})
        )

    def state(self) -> str:
        """Return which of `STATES` the process is in."""
        if watchdog.share() >= _STUCK:
            return "stuck"
        if not self._pulse.settled or any(_by_place(metrics.HISTORY_LEFT).values()):
            return "starting"
        if any(_by_place(metrics.PARTITION_PAUSED).values()):
            return "paused"
        return "lagging" if behind([*self._looks], self._window) else "running"


def begin() -> None:
    """Tell the state from now on, where metrics are served."""
    if os.environ.get(ENABLED):
        Health(window=WINDOW).start()


def _by_place(metric: Any, suffix: str = "") -> dict[Place, float]:
    return {
        (each.labels["topic"], each.labels["partition"]): each.value
        for each in samples(metric, suffix)
    }

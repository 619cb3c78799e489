"""Hit rates: how often rules alert, by event time, and which leave their bounds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import filtered
from operators.control.state import times_of
from operators.rules.rule import Rule

RECENT: Final = 600_000_000
"""How old, in µs of Kafka's time, what is counted may be: what is read anew says nothing of now."""

_MINUTE: Final = 60_000_000
_MANY: Final = 1_000


@dataclass(frozen=True)
class Left:
    """A rule that has left its bounds, and how: by too many alerts, or `silent`, by too few."""

    rule: Rule
    why: str
    silent: bool = False


@dataclass
class _Rate:
    """What was counted of a rule: events and alerts by minute of event time."""

    rule: Rule
    minutes: dict[int, list[int]] = field(default_factory=dict)
    left: bool = False
    silent: bool = False
    first: int | None = None

    def add(self, times: Int64s, place: int) -> None:
        found, counts = np.unique(times // _MINUTE, return_counts=True)
        for minute, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.minutes.setdefault(minute, [0, 0])[place] += count
            self.first = minute if self.first is None else min(self.first, minute)

    def said(self) -> Left | None:
        """Return in what way it has left its bounds, once; silent, once each time that it is."""
        bounds = self.rule.bounds
        if bounds is None or self.left or not self.minutes or self.first is None:
            return None
        oldest = max(self.minutes) - bounds.seconds // 60
        self.minutes = {m: counts for m, counts in self.minutes.items() if m > oldest}
        events = sum(count for count, _ in self.minutes.values())
        hits = sum(count for _, count in self.minutes.values())
        if events < bounds.at_least:
            return None
        told = f"{hits} of {events} within {bounds.over}"
        if hits * 1000 > bounds.hits_per_1000 * events:
            self.left = True
            return Left(self.rule, f"{told}, more than {bounds.hits_per_1000:g} of 1,000")
        was, self.silent = self.silent, hits * 1000 < bounds.least_per_1000 * events
        # A start has not seen all of the time yet.
        self.silent &= was or self.first <= oldest
        if not self.silent or was:
            return None
        least = f"fewer than {bounds.least_per_1000:g} of 1,000"
        return Left(self.rule, f"{told}, {least}", silent=True)


class HitRates:
    """The rates of a process's share of the events; lost with it, and then counted anew."""

    def __init__(self) -> None:
        self._rates: dict[int, _Rate] = {}

    def silent(self, rule: Rule) -> bool:
        """Tell whether a rule alerts less often than its bounds say."""
        rate = self._rates.get(id(rule))
        return rate is not None and rate.rule is rule and rate.silent

    def add(
        self, rules: Iterable[Rule], events: pl.DataFrame, alerts: pl.DataFrame, now: int
    ) -> Iterator[Left]:
        """Count events and alerts by rules that hold for them; yield what has left its bounds.

        `now` is the clock's time, in µs.
        """
        bounded = [each for each in rules if each.bounds is not None and each.status == "live"]
        if not bounded:
            return
        # A batch is of one time, but for a flow that has a lot to read, which counts nothing then.
        if not events.height or int(times_of(events).min()) <= now - RECENT:
            return
        times = events["event_time"].to_physical().to_numpy()
        if len(self._rates) > _MANY:
            self._rates.clear()
        for rule in bounded:
            rate = self._rates.get(id(rule))
            if rate is None or rate.rule is not rule:
                rate = self._rates[id(rule)] = _Rate(rule)
            rate.add(times, 0)
            mine = filtered(alerts, alerts["rule_id"] == rule.id)
            rate.add(mine["event_time"].to_physical().to_numpy(), 1)
            if said := rate.said():
                yield said

"""Decisions of a backtest: what would have been approved, reviewed and blocked, and by what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s
from operators.decisions.decider import ALLOW_LIST, BLOCK_LIST, OF_MODEL, RULES, Decider
from operators.decisions.thresholds import Thresholds, fixed
from operators.decisions.words import LEVELS
from operators.rules.status import LIVE
from ops.backtest.events import Events, Made
from ops.backtest.figures import changes, money
from ops.backtest.taken import Taken

BY: Final = ("nothing", ALLOW_LIST, BLOCK_LIST, RULES, OF_MODEL)
"""What decides, in its order; what is plainly approved is by nothing."""


@dataclass(frozen=True)
class Deciding:
    """What makes decisions as the flow does, by thresholds, of the alerts of `counted` rules."""

    thresholds: Thresholds
    id_column: str
    key_column: str
    counted: Sequence[str]

    def decide(self, events: pl.DataFrame, alerts: pl.DataFrame) -> Made:
        """Return the decisions on events, as if the rules of these alerts were live for them."""
        level, by = np.zeros(events.height, np.int64), np.zeros(events.height, np.int64)
        # A row is not made, so that nobody asks what a rule has read.
        decider = Decider(self.id_column, self.key_column, fixed(self.thresholds), lambda _: ())
        mine = alerts.filter(pl.col("rule_id").is_in(self.counted))
        judged = decider.judge(events, mine.with_columns(rule_status=pl.lit(LIVE)))
        if judged is not None:
            level[judged.rows] = judged.level
            by[judged.rows] = [BY.index(each) for each in judged.by.tolist()]
        return level, by


@dataclass(frozen=True)
class Decisions:
    """The decisions on all events, by their places, and the thresholds that they were made by."""

    events: Events
    level: Int64s
    by: Int64s
    thresholds: Thresholds

    def stopped(self, least: str) -> Taken:
        """Return what is taken of judged events where this decision or a stricter one stops."""
        hit = (self.level >= LEVELS.index(least))[~self.events.known]
        return Taken(self.events.judged, hit, hit.astype(np.float64), hit)

    def figures(self, days: Sequence[int], *, labelled: bool) -> dict[str, Any]:
        """Return how many there are of each decision, and on how many of all events.

        Where there are labels, also on how many judged frauds and good events, and what these
        amount to in minor units by currency.
        """
        found: dict[str, Any] = {"thresholds": self.thresholds.model_dump()}
        for at, name in enumerate(LEVELS):
            which = self.level == at
            count = int(np.count_nonzero(which))
            found[name] = {"count": count, "per_day": count / len(days)}
            if labelled:
                judged = which & ~self.events.known
                found[name] |= self._worth("frauds", judged & self.events.fraud)
                found[name] |= self._worth("good", judged & ~self.events.fraud)
        counts = np.bincount(self.by, minlength=len(BY)).tolist()
        found["decided_by"] = dict(zip(BY[1:], counts[1:], strict=True))
        return found

    def _worth(self, name: str, rows: Bools) -> dict[str, Any]:
        return {
            name: int(np.count_nonzero(rows)),
            f"money_of_{name}": money(self.events, rows),
        }


def compared(
    made: Decisions, live: Decisions | None, days: Sequence[int], *, labelled: bool
) -> dict[str, Any]:
    """Return the figures of decisions, those of the live rules, and what changes against them.

    The four buckets are told twice: for blocking alone, and as if what is reviewed were stopped.
    """
    found = made.figures(days, labelled=labelled)
    if live is None:
        return found | {"live": None}
    found["live"] = live.figures(days, labelled=labelled)
    if labelled:
        found["changes"] = {
            least: changes(live.stopped(least), made.stopped(least)) for least in LEVELS[1:]
        }
    return found

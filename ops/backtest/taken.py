"""What rules take of events: the alerts on them, and how high each scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from operators.columns.arrays import Bools, Floats
from ops.backtest.events import Events, Hits
from ops.backtest.metrics import Curve, Scored, card_precision, curve


@dataclass(frozen=True)
class Taken:
    """What rules take of some events: which of them have an alert, and the score of each.

    The score of several rules is the sum of theirs. Shapes (n,).
    """

    events: Events
    hit: Bools
    score: Floats

    @classmethod
    def by(cls, events: Events, *rules: Hits) -> "Taken":
        """Return what rules take together."""
        hit, score = np.zeros(len(events.day), np.bool_), np.zeros(len(events.day))
        for rule in rules:
            hit[rule.rows] = True
            score[rule.rows] += rule.scores
        return cls(events, hit, score)

    def of(self, rows: Bools) -> "Taken":
        """Return the same of some of the events."""
        return Taken(self.events.of(rows), self.hit[rows], self.score[rows])

    @cached_property
    def judged(self) -> "Taken":
        """The same of the events that are judged."""
        rows = ~self.events.known
        return Taken(self.events.judged, self.hit[rows], self.score[rows])

    @cached_property
    def curve(self) -> Curve:
        """The curve of the scores; what has no alert is below all that has one."""
        lowest = self.score[self.hit].min() - 1 if self.hit.any() else 0.0
        return curve(np.where(self.hit, self.score, min(lowest, 0.0)), self.events.fraud)

    def operating_points(self) -> tuple[Floats, Floats]:
        """Return recall and precision at each threshold that has an alert."""
        scores = np.count_nonzero(self.hit) >= self.curve.frauds + self.curve.others
        return self.curve.recall[scores], self.curve.precision[scores]

    def card_precision(self, days: Sequence[int]) -> float | None:
        """Return the card precision; see `metrics.card_precision`."""
        events = self.events
        scored = Scored(events.day, events.card, events.fraud, self.hit, self.score)
        return card_precision(scored, days)

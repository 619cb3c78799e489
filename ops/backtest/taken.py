"""What rules take of events: the alerts on them, and how high each scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Floats
from ops.backtest.events import Events, Hits
from ops.backtest.metrics import Curve, Scored, card_precision, curve

POINTS: Final = 100
"""What a model's score of 1 adds to the scores of rules, which go up to 100 each."""


@dataclass(frozen=True)
class Taken:
    """What rules take of some events: which of them have an alert, and the score of each.

    The score of several rules is the sum of theirs. With a model a hundred times its score is
    added, and all events that it scored are `ranked`; else those with an alert are. Shapes (n,).
    """

    events: Events
    hit: Bools
    score: Floats
    ranked: Bools

    @classmethod
    def by(cls, events: Events, *rules: Hits, threshold: float | None = None) -> "Taken":
        """Return what rules take together, and the model whose scores reach a threshold."""
        hit, score = np.zeros(len(events.day), np.bool_), np.zeros(len(events.day))
        for rule in rules:
            hit[rule.rows] = True
            score[rule.rows] += rule.scores
        if threshold is None or events.model is None:
            return cls(events, hit, score, hit)
        there = ~np.isnan(events.model)
        # A payment that the model could not score is judged by rules alone.
        score += np.where(there, POINTS * events.model, 0.0)
        alerts = hit | (there & (events.model >= threshold))
        return cls(events, alerts, score, hit | there)

    def of(self, rows: Bools) -> "Taken":
        """Return the same of some of the events."""
        return self._of(self.events.of(rows), rows)

    def _of(self, events: Events, rows: Bools) -> "Taken":
        return Taken(events, self.hit[rows], self.score[rows], self.ranked[rows])

    @cached_property
    def judged(self) -> "Taken":
        """The same of the events that are judged."""
        return self._of(self.events.judged, ~self.events.known)

    @cached_property
    def curve(self) -> Curve:
        """The curve of the scores; what has none is below all that has one."""
        lowest = self.score[self.ranked].min() - 1 if self.ranked.any() else 0.0
        return curve(np.where(self.ranked, self.score, min(lowest, 0.0)), self.events.fraud)

    def operating_points(self) -> tuple[Floats, Floats]:
        """Return recall and precision at each threshold that has a score."""
        scores = np.count_nonzero(self.ranked) >= self.curve.frauds + self.curve.others
        return self.curve.recall[scores], self.curve.precision[scores]

    def card_precision(self, days: Sequence[int]) -> float | None:
        """Return the card precision; see `metrics.card_precision`."""
        events = self.events
        scored = Scored(events.day, events.card, events.fraud, self.ranked, self.score)
        return card_precision(scored, days)

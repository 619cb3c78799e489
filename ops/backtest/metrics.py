"""How well scores tell frauds from others: pure functions of arrays, with ties as they are.

A rule gives the same score to many events, so nothing here may depend on the order of equals:
a threshold takes all events of a score or none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.columns.arrays import Bools, Floats, Int64s, UInt64s

WEEK: Final = 7
"""How many days a block has: the handbook's test set."""

TOP: Final = 100
"""How many cards a day are looked into, as in the Fraud Detection Handbook."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What is taken at each threshold, from the highest score to the lowest.

    Shapes (m,) for m different scores: at `scores[i]` and above are `frauds[i]` frauds and
    `others[i]` others. The last has all there are.
    """

    scores: Floats
    frauds: Int64s
    others: Int64s

    @property
    def precision(self) -> Floats:
        """The share of frauds in what is taken."""
        return np.asarray(self.frauds / (self.frauds + self.others), np.float64)

    @property
    def recall(self) -> Floats:
        """The share of all frauds that is taken; of none it is none."""
        return np.asarray(self.frauds / max(int(self.frauds[-1]), 1), np.float64)


def curve(scores: Floats, fraud: Bools) -> Curve:
    """Return the curve of n events' scores, shape (n,), and which of them are frauds."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # The last event of each score.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], [True] * bool(len(ranked))))
    frauds = np.cumsum(fraud[order], dtype=np.int64)[ends]
    return Curve(ranked[ends], frauds, ends + 1 - frauds)


def auc_roc(of: Curve) -> float | None:
    """Return the area under the ROC curve; None without frauds or without others.

    It is how often a fraud has a higher score than another event, a tie counting half: the
    trapezoids of Fawcett, An introduction to ROC analysis (2006), algorithm 2.
    """
    if not len(of.scores) or not of.frauds[-1] or not of.others[-1]:
        return None
    frauds = np.concatenate(([0], of.frauds)).astype(np.float64)
    others = np.concatenate(([0], of.others)).astype(np.float64)
    area = np.sum(np.diff(others) * (frauds[1:] + frauds[:-1]) / 2)
    return float(area / (frauds[-1] * others[-1]))


def average_precision(of: Curve) -> float | None:
    """Return the average precision; None without frauds.

    The precision at each threshold, weighted with the recall that it adds, as scikit-learn's
    `average_precision_score` defines it: no interpolation between thresholds.
    """
    if not len(of.scores) or not of.frauds[-1]:
        return None
    return float(np.sum(np.diff(of.recall, prepend=0.0) * of.precision))


@dataclass(frozen=True, slots=True)
class Scored:
    """Events by time, shape (n,) each: the day, the card, whether it is a fraud, and its score.

    `hit` are those that have a score.
    """

    day: Int64s
    card: UInt64s
    fraud: Bools
    hit: Bools
    score: Floats


def card_precision(events: Scored, days: Sequence[int], top: int = TOP) -> float | None:
    """Return the card precision: the mean over days of the share of `top` cards rightly named.

    By the Fraud Detection Handbook (Le Borgne et al., chapter 4, Precision top-k metrics): a
    day's cards are in the order of their highest score of the day, the first `top` are looked
    into, and of those the ones with a fraud that day are found; a card that was found is left out
    on the days of its week that follow, weeks being of the first day on. Fewer cards than `top`
    leave the rest of the day's capacity unused, so it divides by `top` all the same; nobody looks
    into a card without a score. Of equal scores the card comes first whose event did. None
    without days.
    """
    if not len(days):
        return None
    found = np.empty(0, np.uint64)
    shares = []
    for day in days:
        if (day - days[0]) % WEEK == 0:
            found = found[:0]
        first, last = np.searchsorted(events.day, [day, day + 1])
        card, score = events.card[first:last], events.score[first:last]
        asked = np.flatnonzero(events.hit[first:last] & ~np.isin(card, found))
        ranked = card[asked[np.argsort(-score[asked], kind="stable")]]
        # Each card where it comes first.
        _, places = np.unique(ranked, return_index=True)
        named = ranked[np.sort(places)][:top]
        frauds = card[events.fraud[first:last]]
        right = named[np.isin(named, frauds)]
        shares.append(len(right) / top)
        found = np.concatenate((found, right))
    return float(np.mean(shares))

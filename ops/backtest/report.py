"""The report of a backtest: every figure, and what its pictures are drawn of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from operators.columns.arrays import Floats
from ops.backtest.decisions import compared
from ops.backtest.events import Events
from ops.backtest.figures import (
    by_day,
    changes,
    mean_of,
    money,
    overlap,
    quality,
    volume,
    weeks,
)
from ops.backtest.run import Outcome, Side
from ops.backtest.taken import Taken


@dataclass(frozen=True)
class Pictures:
    """What the pictures of labelled events are drawn of.

    `curves` are by name the recalls and precisions of all rules together, at each threshold that
    has an alert, `points` those of each rule. At `thresholds`, from the highest score to the lowest
    with an alert, frauds of `stopped` and others of `wrongly` are stopped, in minor units of
    `currency`.
    """

    curves: dict[str, tuple[Floats, Floats]]
    points: dict[str, tuple[float, float]]
    thresholds: Floats
    stopped: Floats
    wrongly: Floats
    currency: str


@dataclass(frozen=True)
class Report:
    """What rules are worth over some days.

    `about` says what they were run over. `live` is None where they are the live rules themselves;
    what needs labels is not in it if there are none. Where there is a model, `model` is what that
    is worth alone, and `rules_alone` what the total is without it. `decisions`, of a stream that
    makes any, are as `decisions.compared` says.
    """

    about: dict[str, Any]
    rules: dict[str, dict[str, Any]]
    total: dict[str, Any]
    live: dict[str, Any] | None
    days: list[dict[str, Any]]
    weeks: list[dict[str, Any]] = field(default_factory=list)
    pictures: Pictures | None = None
    model: dict[str, Any] | None = None
    rules_alone: dict[str, Any] | None = None
    decisions: dict[str, Any] | None = None

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self.about["labels"] is not None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        found = {**self.about, "rules": self.rules, "total": self.total, "live": self.live}
        if self.model is not None:
            found |= {"model": self.model, "rules_alone": self.rules_alone}
        if self.decisions is not None:
            found["decisions"] = self.decisions
        if self.labelled:
            found |= {"weeks": self.weeks, "weekly_mean": mean_of(self.weeks)}
        return found | {"daily": self.days}


def report(
    about: Mapping[str, Any],
    outcome: Outcome,
    side: Side,
    live: Side | None,
    days: Sequence[int],
    labelled: bool,
) -> Report:
    """Work out all figures over `days`; `live` is the other side of the outcome, if there is one.

    Each rule is taken as if it were live for all; the total is of those that `side` has `counted`.
    Days are numbers since 1970, in a row.
    """
    events, candidates = outcome.events, outcome.hits[0]
    lives = outcome.hits[-1]
    taken = {name: Taken.by(events, hits) for name, hits in candidates.items()}
    counted = side.counted
    found = [candidates[name] for name in counted]
    alone_ = Taken.by(events, *found)
    card = side.stream.model.card if side.stream.model else None
    threshold = card.threshold if card else None
    total = Taken.by(events, *found, threshold=threshold)
    live_taken = {name: Taken.by(events, hits) for name, hits in lives.items()}
    before = total if live is None else Taken.by(events, *lives.values())

    def figures(each: Taken) -> dict[str, Any]:
        return volume(each, days) | (quality(each.judged, days) if labelled else {})

    def against_live(each: Taken, after: Callable[[], Taken]) -> dict[str, Any]:
        if live is None:
            return {}
        found: dict[str, Any] = {"overlap": overlap(each, live_taken, before)}
        if labelled:
            found["changes"] = changes(before.judged, after().judged)
        return found

    def alone(name: str) -> Taken:
        others = [hits for other, hits in lives.items() if other != name]
        return Taken.by(events, *others, candidates[name])

    rules = {
        rule.id: {
            **rule.details,
            **figures(taken[rule.id]),
            **against_live(taken[rule.id], partial(alone, rule.id)),
            "failures": outcome.failures[0][rule.id],
        }
        for rule in side.rules.rules
    }
    pictures = None
    if labelled:
        curves = {"these rules": total.judged.operating_points()}
        if live is not None:
            curves["live rules"] = before.judged.operating_points()
        points = {
            name: (each["recall"], each["precision"])
            for name, each in rules.items()
            if each["recall"] is not None and each["precision"] is not None
        }
        pictures = Pictures(curves, points, *_money_by_threshold(total.judged))
    model = rules_alone = None
    if card is not None:
        taken_alone = Taken.by(events, threshold=threshold)
        model = {
            "name": card.name, "version": card.version, "threshold": threshold,
            "unscored": int(np.count_nonzero(~taken_alone.ranked)),
            **figures(taken_alone),
            **against_live(
                taken_alone, lambda: Taken.by(events, *lives.values(), threshold=threshold)
            ),
        }  # fmt: skip
        rules_alone = {"rules": counted} | figures(alone_)
        if labelled:
            rules_alone["weekly_mean"] = mean_of(weeks(alone_.judged, days))
    made = outcome.decisions.get(0)
    theirs = outcome.decisions.get(1) if live else None
    return Report(
        {**about, **_counts(events, outcome, days, labelled)},
        rules,
        {"rules": counted} | figures(total) | against_live(total, lambda: total),
        None if live is None else figures(before),
        by_day(total, before, days),
        weeks(total.judged, days) if labelled else [],
        pictures,
        model,
        rules_alone,
        None if made is None else compared(made, theirs, days, labelled=labelled),
    )


def _counts(
    events: Events, outcome: Outcome, days: Sequence[int], labelled: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "from": str(np.datetime64(days[0], "D")),
        "to": str(np.datetime64(days[-1], "D")),
        "days": len(days),
        "events": len(events.day),
    }
    if labelled:
        judged = ~events.known
        found |= {
            "unlabelled": outcome.unlabelled,
            "frauds": int(np.count_nonzero(events.fraud)),
            "judged": int(np.count_nonzero(judged)),
            "judged_frauds": int(np.count_nonzero(events.fraud & judged)),
            "money_of_frauds": money(events, events.fraud & judged),
        }
    return found


def _money_by_threshold(taken: Taken) -> tuple[Floats, Floats, Floats, str]:
    """Return thresholds, what is stopped at each, rightly and wrongly, and in which currency."""
    events = taken.events
    names = events.currencies or [""]
    currency = int(np.argmax(np.bincount(events.currency, minlength=len(names))))
    rows = np.flatnonzero(taken.hit & (events.currency == currency))
    rows = rows[np.argsort(-taken.score[rows], kind="stable")]
    scores, amounts = taken.score[rows], events.amount[rows]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], [True] * bool(len(rows))))
    fraud = events.fraud[rows]
    stopped, wrongly = np.cumsum(amounts * fraud)[ends], np.cumsum(amounts * ~fraud)[ends]
    return scores[ends], stopped.astype(float), wrongly.astype(float), names[currency]

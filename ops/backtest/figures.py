"""Figures: what rules are worth, from the events that they hit.

Whoever acts on an alert stops the event, so "blocked" is what has an alert and "passed" what has
none. Alerts a day are of all events. What needs labels is of the events that are judged: those
whose card was not known as compromised already, as such a card is blocked whatever rules say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from operators.columns.arrays import Bools
from ops.backtest.events import Events
from ops.backtest.metrics import WEEK, auc_roc, average_precision
from ops.backtest.taken import Taken


def money(events: Events, rows: Bools) -> dict[str, int]:
    """Return what events amount to in minor units, by currency; nothing if none is known."""
    if not events.currencies:
        return {}
    sums = np.zeros(len(events.currencies), np.int64)
    np.add.at(sums, events.currency[rows], events.amount[rows])
    return dict(zip(events.currencies, sums.tolist(), strict=True))


def ranking(taken: Taken, days: Sequence[int]) -> dict[str, float | None]:
    """Return the three figures of how well judged events are ranked; see `metrics`."""
    return {
        "auc_roc": auc_roc(taken.curve),
        "average_precision": average_precision(taken.curve),
        "card_precision_100": taken.card_precision(days),
    }


def volume(taken: Taken, days: Sequence[int]) -> dict[str, Any]:
    """Return how many of all events have an alert, and how many a day (UTC) do."""
    alerts = int(np.count_nonzero(taken.hit))
    return {"alerts": alerts, "alerts_per_day": alerts / len(days)}


def quality(taken: Taken, days: Sequence[int]) -> dict[str, Any]:
    """Return what the alerts on judged events are worth.

    - `precision`: the share of frauds in the events with an alert; null without any
    - `recall`: the share of the frauds that have one; null without frauds
    - `money_stopped`, `money_wrongly_stopped`: what the frauds with an alert, and the good events
      with one, amount to, in minor units by currency
    - `good_customers_hit`: different customers of good events with an alert
    - and what `ranking` returns
    """
    events, hit = taken.events, taken.hit
    caught, wrongly = hit & events.fraud, hit & ~events.fraud
    alerts, right = int(np.count_nonzero(hit)), int(np.count_nonzero(caught))
    frauds = int(np.count_nonzero(events.fraud))
    return {
        "judged_alerts": alerts,
        "frauds_caught": right,
        "precision": right / alerts if alerts else None,
        "recall": right / frauds if frauds else None,
        **ranking(taken, days),
        "money_stopped": money(events, caught),
        "money_wrongly_stopped": money(events, wrongly),
        "good_customers_hit": len(np.unique(events.customer[wrongly])),
    }


def overlap(taken: Taken, live: Mapping[str, Taken], together: Taken) -> dict[str, Any]:
    """Return on how many of the same events the live rules alert, all of them and each."""
    return {
        "alerts": int(np.count_nonzero(taken.hit & together.hit)),
        "share": _share(taken.hit & together.hit, taken.hit),
        "rules": {
            name: count
            for name, each in live.items()
            if (count := int(np.count_nonzero(taken.hit & each.hit)))
        },
    }


def _share(part: Bools, whole: Bools) -> float | None:
    of = int(np.count_nonzero(whole))
    return int(np.count_nonzero(part)) / of if of else None


def changes(before: Taken, after: Taken) -> dict[str, Any]:
    """Return judged events in four buckets, before and after: what acting on alerts does to them.

    Stripe Radar's way of trying a rule out on history. `more` are those that only after are in a
    bucket, `fewer` those that only before were; each with what it amounts to.
    """
    events = before.events
    buckets = {
        "fraud_caught": (events.fraud, True),
        "fraud_missed": (events.fraud, False),
        "good_blocked": (~events.fraud, True),
        "good_passed": (~events.fraud, False),
    }
    found = {}
    for name, (rows, blocked) in buckets.items():
        was, becomes = rows & (before.hit == blocked), rows & (after.hit == blocked)
        found[name] = {
            key: {"count": int(np.count_nonzero(which)), "money": money(events, which)}
            for key, which in (
                ("before", was),
                ("after", becomes),
                ("more", becomes & ~was),
                ("fewer", was & ~becomes),
            )
        }
    return found


def weeks(taken: Taken, days: Sequence[int]) -> list[dict[str, Any]]:
    """Return the ranking of each whole week from the first day on, of judged events."""
    found = []
    for at in range(0, len(days) - WEEK + 1, WEEK):
        block = days[at : at + WEEK]
        inside = (taken.events.day >= block[0]) & (taken.events.day <= block[-1])
        found.append(
            {
                "from": str(np.datetime64(block[0], "D")),
                "to": str(np.datetime64(block[-1], "D")),
                **ranking(taken.of(inside), block),
            }
        )
    return found


def mean_of(found: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the mean ranking of weeks; of a figure that one of them lacks there is none."""
    means: dict[str, float | None] = {}
    for name in ("auc_roc", "average_precision", "card_precision_100"):
        values = [each[name] for each in found]
        means[name] = None if None in values or not values else float(np.mean(values))
    return means


def by_day(taken: Taken, live: Taken, days: Sequence[int]) -> list[dict[str, Any]]:
    """Return each day's events, alerts, those on frauds, and the live rules' alerts."""
    first, n = days[0], len(days)
    day = taken.events.day - first

    def count(rows: Bools) -> list[int]:
        found: list[int] = np.bincount(day[rows], minlength=n).tolist()
        return found

    columns = {
        "events": count(np.ones(len(day), np.bool_)),
        "alerts": count(taken.hit),
        "fraud_alerts": count(taken.hit & taken.events.fraud),
        "live_alerts": count(live.hit),
    }
    return [
        {"day": str(np.datetime64(first + at, "D")), **{k: v[at] for k, v in columns.items()}}
        for at in range(n)
    ]

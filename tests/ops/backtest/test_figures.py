"""Figures against the same counted payment by payment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.backtest.events import Events, Hits
from ops.backtest.figures import changes, mean_of, overlap, quality, ranking, volume, weeks
from ops.backtest.metrics import auc_roc, average_precision, curve
from ops.backtest.taken import Taken

DAYS = range(100, 109)
CURRENCIES = ["EUR", "JPY"]

# Day, card, customer, amount, currency, fraud, known; and of two rules and a live one the score.
scores = st.tuples(*[st.none() | st.integers(0, 4)] * 3)
payments = st.lists(
    st.tuples(
        st.sampled_from(DAYS), st.integers(0, 4), st.integers(0, 2), st.integers(0, 9),
        st.integers(0, 1), st.booleans(), st.booleans(), scores,
    ),
    max_size=40,
)  # fmt: skip


def made(found):
    found = sorted(found, key=lambda each: each[0])
    columns = list(zip(*found, strict=True)) if found else [()] * 8
    kinds = [np.int64, np.uint64, np.uint64, np.int64, np.int64, np.bool_, np.bool_]
    arrays = [np.array(c, k) for c, k in zip(columns[:7], kinds, strict=True)]
    hits = []
    for rule in range(3):
        at = [(n, each[7][rule]) for n, each in enumerate(found) if each[7][rule] is not None]
        rows, values = zip(*at, strict=True) if at else ((), ())
        hits.append(Hits(np.array(rows, np.int64), np.array(values, np.float64)))
    return found, Events(*arrays, CURRENCIES), hits


def amounts(found):
    return {
        name: sum(each[3] for each in found if each[4] == number)
        for number, name in enumerate(CURRENCIES)
    }


@given(payments)
def test_what_alerts_are_worth(given_):
    found, events, (a, b, _) = made(given_)
    taken = Taken.by(events, a, b)
    hit = [each for each in found if each[7][:2] != (None, None)]
    assert volume(taken, DAYS) == {"alerts": len(hit), "alerts_per_day": len(hit) / 9}

    judged = [each for each in found if not each[6]]
    alerts = [each for each in judged if each[7][:2] != (None, None)]
    right = [each for each in alerts if each[5]]
    wrong = [each for each in alerts if not each[5]]
    frauds = [each for each in judged if each[5]]
    told = quality(taken.judged, DAYS)
    assert told["judged_alerts"] == len(alerts)
    assert told["frauds_caught"] == len(right)
    assert told["precision"] == (len(right) / len(alerts) if alerts else None)
    assert told["recall"] == (len(right) / len(frauds) if frauds else None)
    assert told["money_stopped"] == amounts(right)
    assert told["money_wrongly_stopped"] == amounts(wrong)
    assert told["good_customers_hit"] == len({each[2] for each in wrong})
    # The scores of rules are added, and what has no alert is below all that has one.
    score = [sum(s or 0 for s in each[7][:2]) if each in alerts else -1.0 for each in judged]
    of = curve(np.array(score, np.float64), np.array([e[5] for e in judged], np.bool_))
    assert told["auc_roc"] == auc_roc(of)
    assert told["average_precision"] == average_precision(of)


@given(payments)
def test_what_changes_against_the_live_rules(given_):
    found, events, (a, b, c) = made(given_)
    before, after = Taken.by(events, c), Taken.by(events, a, b)
    was = {n for n, each in enumerate(found) if each[7][2] is not None}
    becomes = {n for n, each in enumerate(found) if each[7][:2] != (None, None)}
    buckets = {
        "fraud_caught": (True, True), "fraud_missed": (True, False),
        "good_blocked": (False, True), "good_passed": (False, False),
    }  # fmt: skip
    told = changes(before, after)
    assert told.keys() == buckets.keys()
    for name, (fraud, blocked) in buckets.items():
        rows = {n for n, each in enumerate(found) if each[5] == fraud}
        first = {n for n in rows if (n in was) == blocked}
        then = {n for n in rows if (n in becomes) == blocked}
        expected = {"before": first, "after": then, "more": then - first, "fewer": first - then}
        assert told[name] == {
            key: {"count": len(which), "money": amounts([found[n] for n in which])}
            for key, which in expected.items()
        }
    shared = overlap(after, {"live": before, "none": Taken.by(events)}, before)
    assert shared == {
        "alerts": len(was & becomes),
        "share": len(was & becomes) / len(becomes) if becomes else None,
        "rules": {"live": len(was & becomes)} if was & becomes else {},
    }


@given(payments)
def test_weeks_are_whole_ones_and_each_for_itself(given_):
    _, events, (a, _, _) = made(given_)
    taken = Taken.by(events, a)
    (week,) = weeks(taken, DAYS)
    first = DAYS[:7]
    alone = ranking(taken.of(events.day < first[-1] + 1), first)
    assert week == {"from": "1970-04-11", "to": "1970-04-17", **alone}
    assert weeks(taken, DAYS[:6]) == []
    assert mean_of([alone]) == alone
    assert set(mean_of([]).values()) == {None}


def test_a_mean_of_weeks_is_one_only_if_each_has_the_figure():
    week = {"auc_roc": 0.5, "average_precision": None, "card_precision_100": 0.1}
    other = {"auc_roc": 0.7, "average_precision": 0.2, "card_precision_100": 0.2}
    mean = mean_of([week, other])
    assert mean["auc_roc"] == pytest.approx(0.6)
    assert mean["average_precision"] is None
    assert mean["card_precision_100"] == pytest.approx(0.15)


def test_operating_points_are_those_of_alerts_alone():
    _, events, (a, _, _) = made(
        [
            (100, 1, 1, 5, 0, True, False, (3, None, None)),
            (100, 2, 1, 5, 0, False, False, (1, None, None)),
            (101, 3, 1, 5, 0, True, False, (None, None, None)),
        ]
    )
    recall, precision = Taken.by(events, a).operating_points()
    assert recall.tolist() == [0.5, 0.5]
    assert precision.tolist() == [1.0, 0.5]

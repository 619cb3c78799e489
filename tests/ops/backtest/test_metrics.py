"""The metrics against what their definitions say, counted pair by pair and card by card."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.backtest.metrics import Scored, auc_roc, average_precision, card_precision, curve

# Few scores, so that many are equal.
events = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30)


@given(events)
def test_the_area_is_how_often_a_fraud_is_above_another(found):
    frauds = [score for score, fraud in found if fraud]
    others = [score for score, fraud in found if not fraud]
    pairs = [1.0 if f > o else 0.5 if f == o else 0.0 for f in frauds for o in others]
    expected = pytest.approx(sum(pairs) / len(pairs)) if pairs else None
    assert auc_roc(_curve(found)) == expected


@given(events)
def test_the_average_precision_is_that_of_each_threshold_by_the_recall_it_adds(found):
    frauds = sum(fraud for _, fraud in found)
    expected, before = 0.0, 0.0
    for threshold in sorted({score for score, _ in found}, reverse=True):
        taken = [fraud for score, fraud in found if score >= threshold]
        recall = sum(taken) / max(frauds, 1)
        expected += (recall - before) * sum(taken) / len(taken)
        before = recall
    assert average_precision(_curve(found)) == (pytest.approx(expected) if frauds else None)


def test_they_are_what_scikit_learn_says_of_its_own_example():
    # The example in the documentation of both functions, with its results.
    of = curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert auc_roc(of) == 0.75
    assert average_precision(of) == pytest.approx(0.8333, abs=1e-4)


def _curve(found):
    scores = np.array([score for score, _ in found], np.float64)
    return curve(scores, np.array([fraud for _, fraud in found], np.bool_))


payments = st.lists(
    st.tuples(
        st.integers(5, 8), st.integers(0, 5), st.booleans(), st.booleans(), st.integers(0, 3)
    ),
    max_size=40,
)


@given(payments, st.integers(1, 3))
def test_card_precision_is_counted_card_by_card(found, top):
    found = sorted(found, key=lambda each: each[0])
    caught, shares = set(), []
    for day in range(9):
        # A week later nobody is left out.
        caught = set() if day == 7 else caught
        today = [each for each in found if each[0] == day and each[1] not in caught]
        alerted = {}
        for _, card, _, hit, score in today:
            if hit:
                alerted[card] = max(alerted.get(card, -1), score)
        # Of equal scores the card that came to it first.
        first = {
            card: next(
                at for at, (_, c, _, h, s) in enumerate(today) if c == card and h and s == best
            )
            for card, best in alerted.items()
        }
        named = sorted(alerted, key=lambda card: (-alerted[card], first[card]))[:top]
        right = [card for card in named if any(f for _, c, f, _, _ in today if c == card)]
        shares.append(len(right) / top)
        caught |= set(right)
    days, cards, fraud, hit, score = zip(*found, strict=True) if found else [()] * 5
    scored = Scored(
        np.array(days, np.int64),
        np.array(cards, np.uint64),
        np.array(fraud, np.bool_),
        np.array(hit, np.bool_),
        np.array(score, np.float64),
    )
    assert card_precision(scored, range(9), top) == pytest.approx(sum(shares) / 9)
    assert card_precision(scored, []) is None

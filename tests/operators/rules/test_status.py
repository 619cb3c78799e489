"""Which of a rule's alerts are live: by its status, and by the keys it is rolled out to."""

import polars as pl
import pytest

from operators.rules.status import LIVE, live, said, standing, statuses
from tests.operators.rules.samples import of_payments, rule
from tests.operators.rules.test_rules import rows

CARDS = pl.Series([f"card-{n}" for n in range(10_000)])


def among(rollout: str, name: str = "velocity") -> set[str]:
    return {*CARDS.filter(statuses(standing(LIVE, rollout), name, CARDS) == LIVE)}


@pytest.mark.parametrize("status", ["draft", "shadow", "live", "paused"])
def test_what_is_not_rolled_out_is_of_one_status_for_all(status):
    assert standing(status, None) == standing(status, "100%") == status
    assert statuses(status, "r", CARDS[:3]).to_list() == [status] * 3
    assert statuses(status, "r", CARDS[:0]).to_list() == []
    # How far it was rolled out means nothing where it is not live.
    if status != LIVE:
        assert standing(status, "5%") == status


def test_a_rollout_is_live_for_as_many_and_in_shadow_for_the_others():
    for rollout, share in (("0.5%", 0.005), ("10%", 0.1), ("62.25%", 0.6225)):
        told = statuses(standing(LIVE, rollout), "velocity", CARDS)
        assert set(told) == {"live", "shadow"}
        assert abs((told == LIVE).mean() - share) < 4 * (share * (1 - share) / 10_000) ** 0.5


def test_a_larger_rollout_takes_nobody_back_and_another_rule_has_others():
    assert among("1%") < among("10%") < among("10.01%") | among("11%") < among("99%")
    both = among("50%") & among("50%", "card_testing")
    assert 2_200 < len(both) < 2_800


def test_who_is_in_a_rollout_never_changes():
    # Of what earlier processes, machines and releases have said: to be kept for ever.
    assert sorted(among("0.05%"), key=lambda card: int(card[5:])) == PINNED


PINNED = ["card-1248", "card-1875", "card-2004", "card-3592", "card-3956", "card-4544"]


def test_a_set_of_rules_says_of_each_alert_what_its_rule_was_for_its_key():
    rules = [
        rule(id="a"), rule(id="b", status="shadow"), rule(id="c", rollout="30%"),
        rule(id="d", status="draft"), rule(id="e", status="paused", rollout="30%"),
    ]  # fmt: skip
    frame = rows(*({"amount_minor": 500, "card_id": f"card-{n}"} for n in range(50)))
    alerts = of_payments(rules).evaluate(frame).alerts
    told = {i: mine["rule_status"].to_list() for (i,), mine in alerts.group_by("rule_id")}
    assert [set(told[i]) for i in "abde"] == [{"live"}, {"shadow"}, {"draft"}, {"paused"}]
    assert told["c"] == statuses("live for 30%", "c", CARDS[:50]).to_list()
    assert 3 < told["c"].count(LIVE) < 30
    kept = live(alerts)
    assert kept.equals(alerts.filter(rule_status="live"))
    assert live(kept) is kept
    assert [each.evaluated for each in rules] == [True, True, True, False, False]


def test_a_definition_is_the_text_that_releases_before_statuses_have_written():
    plain = "3: amount_minor > 100 | amount_minor / 10 | low | {amount_minor} is over 100"
    named = {"status": "shadow", "rollout": "5%", "owner": "x", "runbook": "https://x/y"}
    assert rule().definition == rule(**named).definition == plain
    assert rule(action="block").definition == f"{plain} | block"


def test_what_is_usual_is_not_said():
    assert said("live", None) == said("live", "100%") == ""
    assert said("live", "5%") == " (live for 5%)"
    assert said("paused", "5%", "fraud team") == " (paused, fraud team)"
    assert said("live", None, "fraud team") == " (live, fraud team)"

import pytest

from flows.streams import PAYMENTS
from operators.rules.cases import run_case
from operators.rules.rules import RuleSet, load_rules

RULES = load_rules(PAYMENTS.rules)


def test_the_rules_can_be_used_together_on_what_silver_holds():
    assert (
        len(RuleSet(RULES, PAYMENTS.columns, "payment_id", "card_id").rules) == len(RULES) > 0
    )


@pytest.mark.parametrize(
    ("rule", "case"),
    [
        pytest.param(rule, case, id=f"{rule.id}: {case.name}")
        for rule in RULES
        for case in rule.cases
    ],
)
def test_every_case_of_every_rule_holds(rule, case):
    assert run_case(PAYMENTS.fixture, rule, case) == case.alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_a_case_that_alerts_and_one_that_does_not(rule):
    assert any(case.alerts for case in rule.cases)
    assert any(len(case.alerts) < len(case.events) for case in rule.cases)

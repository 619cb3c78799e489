"""A rule to change for a test, and rules together on payments."""

from collections.abc import Sequence

from flows.streams import PAYMENTS
from operators.rules.rule import Rule
from operators.rules.rules import RuleSet

GOOD = {
    "id": "r",
    "version": 3,
    "description": "A rule.",
    "severity": "low",
    "when": "amount_minor > 100",
    "score": "amount_minor / 10",
    "reason": "{amount_minor} is over 100",
    "cases": [{"name": "over", "payments": [{"amount_minor": 101}], "alerts": [1]}],
}


def rule(**changes) -> Rule:
    return Rule.model_validate(GOOD | changes)


def of_payments(rules: Sequence[Rule]) -> RuleSet:
    return RuleSet(rules, PAYMENTS.columns, "payment_id", "card_id")

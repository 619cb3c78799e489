"""What a stream's table of alerts tells that its rows are made by."""

from flows.rows import ALL_RULES
from flows.streams import PAYMENTS
from flows.tables import defined, rules_since
from operators.connectors.delta.definitions import Told
from tests.operators.rules.samples import of_payments, rule


def told(*rules) -> dict[str, str]:
    own = PAYMENTS.settings(**PAYMENTS.own_settings())
    (alerts,) = (
        t for t in defined(PAYMENTS, own, of_payments(rules)) if t.name == "gold/alerts"
    )
    return dict(alerts.definitions)


def test_a_status_is_told_beside_the_rule_where_it_is_not_just_live() -> None:
    plain = told(rule(id="a"))
    assert plain.keys() == {"rule a", "column rule_status", "column action"}
    # As releases before statuses have told it.
    assert plain["rule a"] == rule().definition
    assert told(rule(id="a", rollout="100%", owner="somebody")) == plain
    assert told(rule(id="a", status="shadow")) == plain | {"status a": "shadow"}
    assert told(rule(id="a", rollout="5%")) == plain | {"status a": "live for 5%"}


def test_a_rule_has_spoken_as_it_was_up_to_the_last_change_of_itself_or_its_status() -> None:
    def at(*lasts: int) -> Told:
        return Told(
            "x", {}, 0, {("t", p): last for p, last in enumerate(lasts)} | {("o", 0): 9}
        )

    history = {
        "rule a": [Told("1"), at(5, 9)],
        "status a": [at(1), at(7, 2, 4)],
        "rule b": [at(3), Told("2")],
        "status c": [at(3)],
        "column action": [at(8)],
    }
    assert rules_since(history, "t") == {"a": {0: 7, 1: 9, 2: 4}, "c": {0: 3}}
    assert rules_since(None, "t") == {}
    # Since a topic changes rules, what any rule says may be otherwise.
    followed = {"control": [at(6, 1)]}
    assert rules_since(followed, "t") == {ALL_RULES: {0: 6, 1: 1}}
    assert rules_since({"control": [Told("followed")]}, "t") == {}

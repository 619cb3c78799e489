import polars as pl
import pytest

from flows.streams import CLICKS, PAYMENTS
from operators.rules.cases import events, failing, run_case
from operators.rules.rule import Case
from operators.rules.rules import RuleError
from tests.operators.rules.samples import rule


def case(*given: dict, alerts=()) -> Case:
    return Case(name="c", events=list(given), alerts=list(alerts))


def test_a_cases_payments_are_filled_in():
    frame = events(
        PAYMENTS.fixture, case({}, {"after": "1d2h3m4s5ms", "amount_minor": 5, "latitude": 1.5})
    )
    first, second = frame.to_dicts()
    assert (first["payment_id"], first["card_id"], first["amount_minor"]) == (
        "payment-1",
        "card-1",
        1000,
    )
    assert first["latitude"] is None
    assert (first["recurring"], first["channel"]) == (False, "POS")
    assert (second["amount_minor"], second["latitude"]) == (5, 1.5)
    passed = second["event_time"] - first["event_time"]
    assert passed.total_seconds() == 86400 + 2 * 3600 + 3 * 60 + 4.005
    # They have all that the flow's have, up to the features.
    assert dict(frame.schema).items() <= PAYMENTS.columns.items()


@pytest.mark.parametrize(
    ("payment", "problem"),
    [
        ({"amount": 5}, "payment 1: amount: no field"),
        ({"event_time": "2024-01-01"}, "payment 1: event_time"),
        ({"after": "soon"}, "after: 'soon' is no time"),
        ({"after": ""}, "after: '' is no time"),
        ({"after": "5m3h"}, "after: '5m3h' is no time"),
        ({"amount_minor": "five"}, "five"),
        ({"latitude": "north"}, "north"),
    ],
)
def test_a_case_that_describes_no_payment_is_an_error(payment, problem):
    with pytest.raises(ValueError, match=problem):
        run_case(PAYMENTS.fixture, rule(), case(payment))


def test_a_case_says_which_payments_alert():
    over = [{"amount_minor": amount} for amount in (101, 100, 5_000)]
    assert run_case(PAYMENTS.fixture, rule(), case(*over)) == [1, 3]
    assert run_case(
        PAYMENTS.fixture, rule(when="card_payments_before = 1"), case({}, {"after": "1s"}, {})
    ) == [2]


def test_a_case_on_which_its_rule_fails_is_an_error():
    fails = rule(when="CAST(device_id AS INT) > 0")
    with pytest.raises(RuleError, match="rule r, c: payment 2: InvalidOperationError"):
        run_case(PAYMENTS.fixture, fails, case({"device_id": "5"}, {"device_id": "x"}))


def test_a_rule_that_looks_at_other_payments_is_caught_however_it_does(monkeypatch):
    monkeypatch.setattr("operators.rules.rule.one_row", pl.sql_expr)
    with pytest.raises(RuleError, match="depends on more than one event"):
        run_case(
            PAYMENTS.fixture,
            rule(when="amount_minor < max(amount_minor)"),
            case({}, {"amount_minor": 2000}),
        )


def test_cases_that_do_not_hold_are_listed():
    wrong = rule(cases=[
        {"name": "good", "payments": [{"amount_minor": 101}], "alerts": [1]},
        {"name": "wrong", "payments": [{"amount_minor": 101}], "alerts": []},
        {"name": "typo", "payments": [{"amonut": 1}], "alerts": []},
    ])  # fmt: skip
    unusable = rule(id="u", when="nope > 1")
    problems = failing(PAYMENTS.fixture, [wrong, unusable])
    assert problems[0] == "rule r, wrong: alerts at [1], not []"
    assert problems[1].startswith("rule r, typo: payment 1: amonut")
    assert problems[2].startswith("rule u: unable to find column")
    assert len(problems) == 3


def test_a_case_tells_when_payments_became_known_to_be_what_they_are(tmp_path):
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "frauds.yaml").write_text(
        "name: frauds\nversion: 1\ndescription: Frauds.\nfrom: labels\nby: terminal_id\n"
        "horizon: 30d\naggregate: count\nwhere: verdict = 'FRAUD'\n"
    )
    stream = PAYMENTS.with_rules(tmp_path)
    found = case(
        {"fraud_after": "2d"},
        {"after": "1d"},
        {"after": "3d", "card_id": "card-2"},
        {
            "after": "3d",
            "terminal_id": "terminal-2",
            "fraud_after": "1h",
            "genuine_after": "7d",
        },
        {"after": "4d", "terminal_id": "terminal-2"},
        {"after": "11d", "terminal_id": "terminal-2"},
    )
    assert run_case(stream.fixture, rule(when="frauds = 1"), found) == [3, 5]
    with pytest.raises(ValueError, match="fraud_after: no field"):
        events(CLICKS.fixture, case({"fraud_after": "2d"}))

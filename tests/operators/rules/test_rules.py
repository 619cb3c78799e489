import polars as pl
import pytest

from flows.streams import PAYMENTS
from operators.rules.rule import alert_columns
from operators.rules.rules import RuleError, load_rules
from tests.operators.rules.samples import of_payments, rule


def rows(*given: dict) -> pl.DataFrame:
    """Payments with the columns that the flow gives its rules."""
    base = dict.fromkeys(PAYMENTS.columns) | {
        "source_topic": "payments", "source_partition": 2, "payment_id": "p", "card_id": "c"
    }  # fmt: skip
    return pl.DataFrame(
        [base | {"source_offset": i} | row for i, row in enumerate(given)],
        schema=PAYMENTS.columns,
    )


def amounts(*values) -> pl.DataFrame:
    return rows(*({"amount_minor": value} for value in values))


def test_an_alert_says_which_rule_which_payment_why_and_how_much():
    verdict = of_payments([rule()]).evaluate(amounts(100, 4_321))
    assert verdict.failures == []
    assert dict(verdict.alerts.schema) == alert_columns("payment_id", "card_id")
    (alert,) = verdict.alerts.to_dicts()
    assert alert == {
        "alert_id": "r@3/payments/2/1", "rule_id": "r", "rule_version": 3,
        "rule_status": "live", "payment_id": "p", "card_id": "c", "event_time": None,
        "severity": "low", "action": "review", "score": 432.1,
        "reason": "4321 is over 100",
        "source_topic": "payments", "source_partition": 2, "source_offset": 1,
    }  # fmt: skip


def test_alerts_come_in_the_order_of_the_records_then_of_the_rules():
    rules = of_payments([rule(id="b"), rule(id="a")])
    alerts = rules.evaluate(amounts(500, 1, 600)).alerts
    assert alerts.select("source_offset", "rule_id").rows() == [
        (0, "a"), (0, "b"), (2, "a"), (2, "b")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("no placeholder", "no placeholder"),
        ("{amount_minor} of {card_id}, {amount_minor}!", "200 of c, 200!"),
        ("{latitude} unknown is a question mark", "? unknown is a question mark"),
        ("100 % {card_id} {}", None),
        ("{recurring} {channel} {card_amount_minor_mean}", "? ? ?"),
    ],
)
def test_a_reason_is_filled_in_from_the_payment(reason, expected):
    if expected is None:
        with pytest.raises(RuleError, match="rule r: "):
            of_payments([rule(reason=reason)])
        return
    alerts = of_payments([rule(reason=reason)]).evaluate(amounts(200)).alerts
    assert alerts["reason"].to_list() == [expected]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("50", 50.0),
        ("least(100, amount_minor)", 100.0),
        ("amount_minor / 3", 66.67),
        ("latitude", None),
    ],
)
def test_a_score_is_a_number_of_the_payment_with_two_decimals(score, expected):
    alerts = of_payments([rule(score=score)]).evaluate(amounts(200)).alerts
    assert alerts["score"].to_list() == [expected]


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2], [1, 2, 3, 4], [4]])
def test_a_score_is_the_same_to_the_last_bit_in_any_batch_and_any_chunks(cuts):
    rules = of_payments([rule(score="amount_minor / 10", when="amount_minor / 10 > 10.1")])
    frame = amounts(101, 107, 113, 101, 119)
    whole = rules.evaluate(frame).alerts
    parts = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, 5], strict=True)]
    assert pl.concat([rules.evaluate(part).alerts for part in parts]).equals(whole)
    assert rules.evaluate(pl.concat(parts, rechunk=False)).alerts.equals(whole)


def test_what_is_unknown_is_no_match():
    unknown = rule(when="card_moved_m > 5 OR latitude < 0")
    assert of_payments([unknown]).evaluate(amounts(1, 2)).alerts.height == 0


@pytest.mark.parametrize("when", ["TRUE", "1 = 1"])
def test_a_condition_of_constants_holds_for_every_payment(when):
    verdict = of_payments([rule(when=when)]).evaluate(amounts(1, 2, 3))
    assert verdict.alerts["source_offset"].to_list() == [0, 1, 2]


def test_rules_that_are_stated_alike_are_equal_also_once_both_have_been_evaluated():
    first, again, other = rule(), rule(), rule(when="amount_minor > 7")
    for each in (first, again, other):
        of_payments([each]).evaluate(amounts(1, 2))
    assert first == again
    assert first not in (None, other)


def test_no_payments_and_no_rules_are_no_alerts():
    for verdict in (
        of_payments([rule()]).evaluate(amounts()),
        of_payments([]).evaluate(amounts(1, 2)),
    ):
        assert verdict.alerts.height == 0
        assert dict(verdict.alerts.schema) == alert_columns("payment_id", "card_id")
        assert verdict.failures == []


def test_a_rule_that_fails_on_some_payments_fails_on_those_alone():
    devices = ["7", "x", "8", None, "", "1", "y"]
    frame = rows(*({"device_id": d, "amount_minor": 50 * i} for i, d in enumerate(devices)))
    frame = pl.concat([frame.slice(i, 2) for i in range(0, 7, 2)], rechunk=False)
    fails = rule(id="fails", when="CAST(device_id AS INT) > 0", score="1", reason="!")
    verdict = of_payments([fails, rule()]).evaluate(frame)
    assert [(f.rule.id, f.event["source_offset"].to_list()) for f in verdict.failures] == [
        ("fails", [1]), ("fails", [4]), ("fails", [6])
    ]  # fmt: skip
    assert {f.error for f in verdict.failures} == {"InvalidOperationError"}
    assert verdict.alerts.select("source_offset", "rule_id").rows() == [
        (0, "fails"), (2, "fails"), (3, "r"), (4, "r"), (5, "fails"), (5, "r"), (6, "r")
    ]  # fmt: skip
    alone = [of_payments([fails, rule()]).evaluate(frame[i]) for i in range(7)]
    assert pl.concat([each.alerts for each in alone]).equals(verdict.alerts)
    assert sum(len(each.failures) for each in alone) == 3


def test_a_rule_whose_score_fails_is_a_failure_too():
    fails = rule(when="amount_minor > 0", score="CAST(device_id AS INT)")
    frame = rows({"device_id": "5", "amount_minor": 1}, {"device_id": "x", "amount_minor": 1},
                 {"device_id": "x", "amount_minor": 0})  # fmt: skip
    verdict = of_payments([fails]).evaluate(frame)
    assert verdict.alerts.select("source_offset", "score").rows() == [(0, 5.0)]
    assert [f.event["source_offset"][0] for f in verdict.failures] == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "sum(amount_minor) > 5", "count(*) > 2", "amount_minor > avg(amount_minor)",
        "rank() over (order by amount_minor) = 1", "row_number() over (order by card_id) = 1",
        "lag(amount_minor) over (order by source_offset) > 1", "first(amount_minor) > 1",
        "max(amount_minor) > 1", "median(amount_minor) > 1", "stddev(amount_minor) > 1",
        "quantile_disc(amount_minor, 0.5) > 1", "quantile_cont(amount_minor, 0.5) > 1",
        "corr(amount_minor, latitude) > 0", "covar(amount_minor, latitude) > 0",
        "count(DISTINCT card_id) > 1", "EXISTS (SELECT 1)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["when", "score"])
def test_a_rule_may_not_look_at_other_payments(sql, place):
    # On its own row each of them would mean something else than in a batch.
    with pytest.raises(RuleError, match=r"rule r: .*more than one event"):
        of_payments([rule(**{place: sql})])


def test_a_rule_may_not_change_the_number_of_rows():
    with pytest.raises(RuleError, match="more than one event"):
        of_payments([rule(score="unnest(string_to_array(card_id, '-'))")])


@pytest.mark.parametrize(
    "sql", ["event_time < now()", "event_time < NOW ()", "event_time < CURRENT_TIMESTAMP"]
)
def test_a_rule_may_not_look_at_the_clock(sql):
    with pytest.raises(RuleError, match="clock"):
        of_payments([rule(when=sql)])
    text = rule(when="device_id = 'now() is current_time'")
    assert of_payments([text]).evaluate(amounts(1)).alerts.height == 0


def test_all_rules_that_cannot_be_used_are_named_at_once():
    broken = [
        rule(id="a", when="amount_minor >"),
        rule(id="b", when="amount_major > 5"),
        rule(id="c", when="amount_minor"),
        rule(id="d", score="nope(1)"),
        rule(id="e", reason="{nothing}"),
        rule(id="f"),
        rule(id="f"),
        rule(id="g", when="COLUMNS('card_.*') > 1"),
    ]
    with pytest.raises(RuleError) as raised:
        of_payments(broken)
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"rule {i}" for i in "abcdegf"]
    assert '"amount_major"' in lines[1]
    assert "Boolean" in lines[2]
    assert lines[-1] == "rule f: defined twice"


def write(folder, name, text):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def test_all_files_that_are_no_rules_are_named_at_once(tmp_path):
    good = (
        "id: good\nversion: 1\ndescription: x\nseverity: low\nwhen: 'TRUE'\nscore: '1'\n"
        "reason: x\ncases: [{name: c, payments: [{}], alerts: [1]}]\n"
    )
    write(tmp_path, "good.yaml", good)
    write(tmp_path, "renamed.yaml", good)
    write(tmp_path, "empty.yaml", "")
    write(tmp_path, "list.yaml", "- 1\n")
    write(tmp_path, "broken.yaml", "id: [\n")
    write(tmp_path, "bytes.yaml", b"id: \xff\n")
    write(
        tmp_path,
        "fields.yaml",
        good.replace("good", "fields").replace("low", "awful") + "x: 1\n",
    )
    write(tmp_path, "nocases.yaml", good.replace("good", "nocases").split("cases")[0])
    write(tmp_path, "ignored.txt", "no rule")
    with pytest.raises(RuleError) as raised:
        load_rules(tmp_path)
    text = str(raised.value)
    assert {line.split(":")[0] for line in text.splitlines() if ".yaml: " in line} == {
        "renamed.yaml", "empty.yaml", "list.yaml", "broken.yaml", "bytes.yaml", "fields.yaml",
        "nocases.yaml",
    }  # fmt: skip
    assert "renamed.yaml: its id is good, not the file's name" in text
    assert "fields.yaml: severity: " in text
    assert "fields.yaml: x: " in text
    assert "nocases.yaml: cases: Field required" in text


def test_a_folder_without_rules_is_no_folder_of_rules(tmp_path):
    with pytest.raises(RuleError, match="no rules"):
        load_rules(tmp_path)

"""Contract files, on a schema of their own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import schemas
from operators.contracts import ContractError, load_contract
from operators.contracts.files import read_contract

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Click",
    "fields": [
        {"name": "click_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "cost_minor", "type": ["null", "long"], "default": None},
        {
            "name": "kind",
            "type": {"type": "enum", "name": "Kind", "symbols": ["CLICK", "VIEW"]},
        },
        {"name": "country", "type": ["null", "string"], "default": None},
    ],
}
COLUMNS = {
    "click_id": pl.String, "event_time": pl.Datetime("us", "UTC"), "cost_minor": pl.Int64,
    "kind": pl.String, "country": pl.String,
}  # fmt: skip
NOW = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GOOD = {"click_id": "1", "event_time": NOW, "cost_minor": 5, "kind": "CLICK", "country": None}


def codes(text: str, *clicks: dict[str, Any]) -> list[tuple[int, str, str]]:
    frame = pl.DataFrame([GOOD | click for click in clicks], schema=COLUMNS)
    stamps = pl.Series([int(NOW.timestamp() * 1000)] * len(clicks))
    good, refusals, *_ = read_contract(text, SCHEMA, "click").check(frame, stamps)
    assert [i for i, fine in enumerate(good) if not fine] == [r.row for r in refusals]
    return [(each.row, each.code, each.message) for each in refusals]


@pytest.mark.parametrize(
    ("check", "fine", "wrong", "message"),
    [
        ("{field: click_id, bytes: [1, 3]}", ["é1"], ["", "éé"], "click_id: 1 to 3 bytes"),
        ("{field: click_id, pattern: 'a+|b'}", ["aa", "b"], ["ab", "b\n", ""],
         "click_id: matches a+|b"),
        ("{field: click_id, pattern: a, says: an a}", ["a"], ["b"], "click_id: an a"),
        ("{field: country, pattern: '[A-Z]{2}'}", ["BE", None], ["be"],
         "country: matches [A-Z]{2}, or null"),
        ("{field: country, in: [BE, NL]}", ["BE", None], ["FR"], "country: one of BE, NL, or null"),
        ("{field: cost_minor, range: [0, 9]}", [0, 9, None], [-1, 10],
         "cost_minor: 0 to 9, or null"),
        ("{where: kind = 'VIEW' OR cost_minor > 0, says: clicks cost}", [1], [0, None],
         "kind, cost_minor: clicks cost"),
    ],
)  # fmt: skip
def test_what_is_fine_and_what_is_not(check, fine, wrong, message):
    field = "cost_minor" if "cost" in check else "country" if "country" in check else "click_id"
    text = f"checks: [{check.replace('{', '{code: it, ', 1)}]"
    assert codes(text, *({field: value} for value in fine)) == []
    told = codes(text, *({field: value} for value in [*fine, *wrong]))
    assert told == [(len(fine) + i, "it", message) for i in range(len(wrong))]
    assert codes(text, {field: wrong[0]}) == [(0, "it", message)], "a second time too"


def day(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bounds", "fine", "wrong", "message"),
    [
        ("time: [2020-01-01, null]", [day(2020), NOW + 5 * MINUTE], [day(2019), NOW + 6 * MINUTE],
         "from 2020-01-01, and not far past the record's Kafka time"),
        ("time: [null, 2026-01-01]", [day(1970), day(2026)], [day(2027)],
         "to 2026-01-01, and not far past the record's Kafka time"),
        ("time: [2020-01-01, 2030-01-01], ahead: 1h", [NOW + 60 * MINUTE], [NOW + 61 * MINUTE],
         "from 2020-01-01 to 2030-01-01, and at most 1h past the record's Kafka time"),
        # No clock has a say, not even the broker's.
        ("time: [2020-01-01, 2030-01-01], ahead: any", [day(2029)], [day(2031)],
         "from 2020-01-01 to 2030-01-01"),
        ("time: [null, null], ahead: any", [day(1), day(9998)], [], ""),
        ("time: [null, null], ahead: 0s", [NOW], [NOW + MINUTE],
         "at most 0s past the record's Kafka time"),
    ],
)  # fmt: skip
def test_event_times_have_the_bounds_that_are_stated(bounds, fine, wrong, message):
    text = f"checks: [{{code: when, field: event_time, {bounds}}}]"
    clicks = [{"event_time": each} for each in [*fine, *wrong]]
    expected = [(len(fine) + n, "when", f"event_time: {message}") for n in range(len(wrong))]
    assert codes(text, *clicks) == expected
    # It may also be counted, and let pass.
    frame = pl.DataFrame([GOOD | click for click in clicks], schema=COLUMNS)
    contract = read_contract(text.replace("{code", "{severity: warn, code"), SCHEMA, "click")
    checked = contract.check(frame, pl.Series([int(NOW.timestamp() * 1000)] * frame.height))
    assert (checked.refusals, checked.warned.total()) == ([], len(wrong))


def test_the_first_check_that_is_broken_gives_the_code():
    text = """
    checks:
      - {code: kind, field: kind, in: [CLICK]}
      - {code: cost, field: cost_minor, range: [0, 9]}
    """
    ((_, code, message),) = codes(text, {"cost_minor": -1, "kind": "VIEW"})
    assert code == "kind"
    assert message == "kind: one of CLICK; cost_minor: 0 to 9, or null"


def test_every_problem_of_a_file_is_named_with_its_place():
    text = """
    checks:
      - {code: a, field: nothing, bytes: [1, 2]}
      - {code: b, field: cost_minor, pattern: x}
      - {code: c, field: click_id, pattern: "("}
      - {code: d, where: sum(cost_minor) > 1}
      - {code: e, field: event_time, range: [0, 1]}
    """
    with pytest.raises(ContractError) as told:
        read_contract(text, SCHEMA, "click/contract.yaml")
    lines = str(told.value).splitlines()
    for number, (code, why) in enumerate(
        [
            ("a", "the schema has no nothing"),
            ("b", "pattern is not for a field of type long"),
            ("c", ""),
            ("d", "looks at more than one event"),
            ("e", "range is not for a field of type timestamp-micros"),
        ]
    ):
        assert any(
            line.startswith(f"click/contract.yaml: checks.{number} ({code}): ") and why in line
            for line in lines
        ), (code, lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("checks: [{code: A, field: kind, in: [CLICK]}]", "checks.0.code"),
        ("checks: [{code: a, field: kind}]", "needs one of bytes"),
        ("checks: [{code: a, field: kind, in: [X], bytes: [1, 2]}]", "needs one of bytes"),
        ("checks: [{code: a, bytes: [1, 2]}]", "needs a field, or where without one"),
        (
            "checks: [{code: a, field: kind, where: 'true'}]",
            "needs a field, or where without one",
        ),
        (
            "checks: [{code: a, field: cost_minor, range: [0, 1], ahead: 5m}]",
            "ahead is for a time",
        ),
        (
            "checks: [{code: a, field: event_time, time: [null, null], ahead: soon}]",
            "'soon' is no duration",
        ),
        ("check: []", "check"),
        ("checks: [", "click"),
        ("", "click"),
    ],
)
def test_a_file_that_is_no_contract_is_refused(text, why):
    with pytest.raises(ContractError, match=why.replace("(", r"\(")):
        read_contract(text, SCHEMA, "click")


def test_a_record_without_a_file_may_be_anything(monkeypatch):
    monkeypatch.setattr(schemas, "contract", lambda record: None)
    contract = load_contract.__wrapped__("payment")
    good, refusals, *_ = contract.check(
        pl.DataFrame({"payment_id": ["", None]}), pl.Series([0, 0])
    )
    assert good.to_list() == [True, True]
    assert refusals == []

"""Repairs of a contract, against repairing record by record."""

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators import metrics
from operators.avro import Decoder
from operators.connectors.registry.schema_source import open_registry
from operators.contracts import REPAIRS, ContractError, load_contract, read_contract
from operators.records.batches import Batch, Progress, RawBatch
from operators.steps.decode import decode_batches
from tests.flows.clicks import START, click
from tests.operators.contracts.test_files import COLUMNS, GOOD, NOW, SCHEMA

TEXT = """
checks:
  - {code: id, field: click_id, pattern: "[a-z]{1,3}"}
  - {code: country, field: country, pattern: "[A-Z]{2}"}
  - {code: cost, field: cost_minor, range: [0, 99]}
  - {code: time, field: event_time, time: [2020-01-01, 2100-01-01]}
  - {code: both, where: "kind = 'VIEW' OR (country IS NOT NULL AND cost_minor > 0)"}
repairs:
  - {does: trim, field: [click_id, country]}
  - {does: upper_case, field: country}
  - {does: unit, field: cost_minor, divided_by: 100}
  - {does: default, field: cost_minor, value: 1}
  - {does: unit, field: event_time, times: 1_000_000}
  - {does: parse_time, field: event_time, of: country, format: "%Y-%m-%dT%H:%M%z"}
  - {does: default, field: country, value: XX}
"""
CONTRACT = read_contract(TEXT, SCHEMA, "click")
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def breaks(row, field):
    """Tell whether a record breaks a check of a field."""
    both = row["kind"] == "VIEW" or (row["country"] and (row["cost_minor"] or 0) > 0)
    time = EARLIEST <= row["event_time"] <= NOW + timedelta(minutes=5)
    return {
        "click_id": not re.fullmatch("[a-z]{1,3}", row["click_id"]),
        "country": not both
        or (row["country"] is not None and not re.fullmatch("[A-Z]{2}", row["country"])),
        "cost_minor": not both
        or (row["cost_minor"] is not None and not 0 <= row["cost_minor"] <= 99),
        "event_time": not time,
        "kind": not both,
    }[field]


def parsed(text):
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M%z").astimezone(UTC)
    except ValueError:
        return None


def multiplied(row):
    try:
        return EPOCH + (row["event_time"] - EPOCH) * 1_000_000
    except OverflowError:
        return None


STEPS = [
    ("click_id", "trim", lambda row: row["click_id"].strip()),
    ("country", "trim", lambda row: row["country"] and row["country"].strip()),
    ("country", "upper_case", lambda row: row["country"] and row["country"].upper()),
    ("cost_minor", "unit", lambda row: row["cost_minor"] and row["cost_minor"] // 100),
    ("cost_minor", "default", lambda _: 1),
    ("event_time", "unit", multiplied),
    ("event_time", "parse_time", lambda row: parsed(row["country"])),
    ("country", "default", lambda _: "XX"),
]


def one_by_one(row):
    """Return the record as it should be by then and what was done, or None if it is refused."""
    now, by = dict(row), {}
    for field, does, made in STEPS:
        new = made(now) if breaks(now, field) else None
        if new is not None and new != now[field]:
            now[field] = new
            by.setdefault(field, []).append(does)
    return None if any(breaks(now, field) for field in row) else (now, by)


RECORDS = st.fixed_dictionaries(
    {
        "click_id": st.sampled_from(["a", " abc", "abcd", "", "zz\t"]),
        "event_time": st.sampled_from(
            [NOW, EPOCH + timedelta(seconds=1772), EPOCH, NOW + timedelta(days=99)]
        ),
        "cost_minor": st.sampled_from([None, 5, 0, 9_900, -5, -250, 10**15, -(2**63)]),
        "kind": st.sampled_from(["CLICK", "VIEW"]),
        "country": st.sampled_from([None, "BE", " be", "b", "2026-02-03T04:05+0100"]),
    }
)


def check(rows, contract=CONTRACT):
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return contract.check(frame, pl.Series([int(NOW.timestamp() * 1000)] * len(rows)))


@given(st.lists(RECORDS, max_size=12))
def test_records_are_repaired_as_one_by_one(rows):
    checked = check(rows)
    expected = [one_by_one(row) for row in rows]
    assert checked.good.to_list() == [each is not None for each in expected]
    assert [each.row for each in checked.refusals] == [
        at for at, each in enumerate(expected) if each is None
    ]
    assert checked.frame.columns == [*COLUMNS, REPAIRS]
    counts = {}
    for before, row, made in zip(rows, checked.frame.to_dicts(), expected, strict=True):
        notes = json.loads(row.pop(REPAIRS) or "[]")
        now, by = made or (before, {})
        assert row == now, "a refused one is as it came"
        assert {note["field"]: note["by"] for note in notes} == by
        for note in notes:
            was = note["was"]
            undone = datetime.fromisoformat(was) if note["field"] == "event_time" else was
            assert undone == before[note["field"]], "so that it can be undone"
        for field, does in by.items():
            for each in does:
                counts[field, each] = counts.get((field, each), 0) + 1
    assert checked.repaired == counts


def test_a_time_that_is_in_no_calendar_is_noted_as_its_number():
    text = """
checks:
  - {code: id, field: click_id, pattern: "[a-z]{1,3}"}
  - {code: both, where: "kind = 'CLICK' OR extract(year FROM event_time) < 9999"}
repairs:
  - {does: trim, field: click_id}
  - {does: unit, field: event_time, divided_by: 1_000}
"""
    contract = read_contract(text, SCHEMA, "click")
    far = pl.Series([2**62, -(2**63), 2**62, 0]).cast(COLUMNS["event_time"])
    rows = [GOOD | {"click_id": each} for each in (" a", "b ", "c", "d ")]
    frame = pl.DataFrame(rows, schema=COLUMNS).with_columns(event_time=far)
    frame = frame.with_columns(kind=pl.Series(["CLICK", "CLICK", "VIEW", "CLICK"]))
    checked = contract.check(frame, pl.Series([0] * 4))
    assert checked.good.all()
    assert [json.loads(each) for each in checked.frame[REPAIRS]] == [
        [{"field": "click_id", "was": " a", "by": ["trim"]}],
        [{"field": "click_id", "was": "b ", "by": ["trim"]}],
        [{"field": "event_time", "was": 2**62, "by": ["unit"]}],
        [{"field": "click_id", "was": "d ", "by": ["trim"]}],
    ]


def test_what_is_refused_says_what_was_wrong_as_it_came():
    checked = check([GOOD | {"country": "be", "click_id": "abcd"}])
    assert checked.refusals[0].message.startswith("click_id: matches [a-z]{1,3}; country: ")
    assert not checked.repaired


def test_a_contract_without_repairs_hands_its_rows_on_as_they_are():
    frame = pl.DataFrame([GOOD], schema=COLUMNS)
    contract = read_contract(TEXT[: TEXT.index("repairs")], SCHEMA, "click")
    assert contract.check(frame, pl.Series([0])).frame is frame


@pytest.mark.parametrize(
    ("repair", "why"),
    [
        ("{does: trim, field: nothing}", "repairs.0 (trim): the schema has no nothing"),
        ("{does: trim, field: cost_minor}", "trim is not for a field of type long"),
        ("{does: unit, field: click_id, times: 2}", "unit is not for a field of type string"),
        ("{does: unit, field: cost_minor}", "unit needs times or divided_by"),
        ("{does: default, field: country}", "default needs a value"),
        ("{does: default, field: cost_minor, value: much}", "'much' is no value of"),
        ("{does: trim, field: country, times: 3}", "trim needs no times"),
        ("{does: parse_time, field: event_time, of: country}", "parse_time needs of"),
        ("{does: parse_time, field: event_time, of: cost_minor, format: '%Y'}",
         "cost_minor is of type long"),
        ("{does: polish, field: country}", "repairs.0.does"),
        ("{does: trim}", "repairs.0.field"),
    ],
)  # fmt: skip
def test_a_repair_that_cannot_be_is_refused(repair, why):
    with pytest.raises(ContractError) as told:
        read_contract(f"checks: []\nrepairs: [{repair}]", SCHEMA, "click")
    assert why in str(told.value)


def test_a_repaired_record_goes_on_with_the_good_ones_and_is_counted():
    raw = RawBatch(
        Progress("clicks", 0, 1, 3), np.arange(3), np.full(3, -1), (None,) * 3,
        [click(0), click(1, cost_minor=25_000_000), click(2, cost_minor=-1)], (None,) * 3,
    )  # fmt: skip
    counter = metrics.REPAIRED.labels("clicks", "cost_minor", "unit")
    before = counter._value.get()
    decoder = Decoder(schemas.latest("click"), open_registry(""))
    batch, rejects = decode_batches([raw], decoder, load_contract("click").check)
    assert isinstance(batch, Batch)
    assert batch.frame["cost_minor"].to_list() == [0, 2_500]
    assert batch.frame[REPAIRS].to_list() == [
        None,
        '[{"field":"cost_minor","was":25000000,"by":["unit"]}]',
    ]
    assert batch.frame["event_time"].to_list() == [START, START + timedelta(seconds=3)]
    assert rejects["code"].to_list() == ["cost_range"]
    assert counter._value.get() - before == 1

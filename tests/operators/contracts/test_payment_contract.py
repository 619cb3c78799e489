from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.contracts import load_contract

SCHEMA = {
    "payment_id": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "card_id": pl.String,
    "customer_id": pl.String,
    "terminal_id": pl.String,
    "amount_minor": pl.Int64,
    "currency": pl.String,
    "merchant_category": pl.String,
    "country": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "channel": pl.String,
    "device_id": pl.String,
}
NOW_MS = 1_760_000_000_000
BOUND_US = 300_000_000


def payment(**fields: Any) -> dict[str, Any]:
    return {
        "payment_id": "p1",
        "event_time": NOW_MS * 1000,
        "card_id": "c1",
        "customer_id": "u1",
        "terminal_id": "t1",
        "amount_minor": 1,
        "currency": "EUR",
        "merchant_category": "0742",
        "country": "BE",
        "latitude": 50.5,
        "longitude": 4.25,
        "channel": "POS",
        "device_id": None,
    } | fields


def check(*payments: dict[str, Any], kafka_ms: int | None = NOW_MS) -> Any:
    storage = SCHEMA | {"event_time": pl.Int64}
    frame = pl.DataFrame(list(payments), schema=storage).cast(SCHEMA)
    timestamps = pl.Series([kafka_ms] * len(payments), dtype=pl.Int64)
    return load_contract("payment").check(frame, timestamps)


@pytest.mark.parametrize(
    "fields",
    [
        {"payment_id": "x" * 128, "device_id": "é" * 64},
        {"amount_minor": 10**12},
        {"amount_minor": 0},
        {"latitude": None, "longitude": None},
        {"latitude": -90.0, "longitude": 180.0},
        {"event_time": NOW_MS * 1000 + BOUND_US},
        {"event_time": 946_684_800_000_000},
        {"device_id": ""},
    ],
)
def test_good_payments_pass(fields: dict[str, Any]) -> None:
    good, refusals, *_ = check(payment(**fields))
    assert good.to_list() == [True]
    assert refusals == []


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("id_length", {"payment_id": ""}),
        ("id_length", {"card_id": "é" * 65}),  # bytes count, not characters
        ("id_length", {"terminal_id": "x" * 129}),
        ("id_length", {"customer_id": ""}),
        ("id_length", {"device_id": "x" * 129}),
        ("id_length", {"card_id": None}),
        ("amount_range", {"amount_minor": -1}),
        ("amount_range", {"amount_minor": 10**12 + 1}),
        ("amount_range", {"amount_minor": -(2**63)}),
        ("currency_format", {"currency": "eur"}),
        ("currency_format", {"currency": "EUR\n"}),
        ("currency_format", {"currency": "ÉUR"}),
        ("currency_format", {"currency": None}),
        ("category_format", {"merchant_category": "541"}),
        ("category_format", {"merchant_category": "٣٤٥٦"}),  # digits, but not ASCII
        ("country_format", {"country": "BEL"}),
        ("coordinate_range", {"latitude": 90.001}),
        ("coordinate_range", {"latitude": float("nan")}),
        ("coordinate_range", {"longitude": float("-inf")}),
        ("coordinate_pair", {"latitude": None}),
        ("coordinate_pair", {"longitude": None}),
        ("event_time_range", {"event_time": NOW_MS * 1000 + BOUND_US + 1}),
        ("event_time_range", {"event_time": 946_684_799_999_999}),
        ("event_time_range", {"event_time": 2**63 - 1}),
        ("event_time_range", {"event_time": -(2**63)}),
    ],
)
def test_bad_payments_are_refused(code: str, fields: dict[str, Any]) -> None:
    good, refusals, *_ = check(payment(), payment(**fields), payment())
    assert good.to_list() == [True, False, True]
    assert [(r.row, r.stage, r.code) for r in refusals] == [(1, "contract", code)]
    for field in fields:
        assert field in refusals[0].message


@pytest.mark.parametrize("kafka_ms", [-1, None, 2**62, 2**63 - 1])
def test_without_a_usable_kafka_time_the_year_2100_bounds(kafka_ms: int | None) -> None:
    end = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    good, *_ = check(payment(event_time=end), payment(event_time=end + 1), kafka_ms=kafka_ms)
    assert good.to_list() == [True, False]


def test_one_refusal_names_all_that_is_broken_and_no_values() -> None:
    _, refusals, *_ = check(
        payment(card_id="", currency="SECRET", latitude=91.0, amount_minor=-7777)
    )
    assert [refusal.code for refusal in refusals] == ["id_length"]
    message = refusals[0].message
    assert all(name in message for name in ("card_id", "currency", "latitude", "amount_minor"))
    assert "SECRET" not in message
    assert "7777" not in message


def test_no_rows_are_neither_good_nor_refused() -> None:
    good, refusals, *_ = check()
    assert good.len() == 0
    assert refusals == []


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "currency": st.sampled_from(["EUR", "eur", "", "EURO"]),
                "amount_minor": st.sampled_from([-1, 0, 10**12, 10**12 + 1]),
                "latitude": st.sampled_from([None, 0.0, 90.5, float("nan")]),
            }
        ),
        max_size=10,
    )
)
def test_each_row_is_good_or_refused_once(drawn: list[dict[str, Any]]) -> None:
    good, refusals, *_ = check(*(payment(**fields) for fields in drawn))
    expected = [
        fields["currency"] == "EUR"
        and 0 <= fields["amount_minor"] <= 10**12
        and fields["latitude"] == 0.0
        for fields in drawn
    ]
    assert good.to_list() == expected
    assert [r.row for r in refusals] == [row for row, ok in enumerate(expected) if not ok]

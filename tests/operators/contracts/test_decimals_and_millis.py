"""Checks and repairs of decimals, and of times that are written in milliseconds."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import polars as pl
import pytest

from operators.avro import Decoder
from operators.contracts import REPAIRS, ContractError, read_contract

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "sale",
    "fields": [
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
        },
        {
            "name": "rate",
            "type": [
                "null",
                {
                    "type": "fixed", "name": "r", "size": 8, "logicalType": "decimal",
                    "precision": 18, "scale": 3,
                },
            ],
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "told", "type": "string"},
    ],
}  # fmt: skip
TEXT = """
checks:
  - {code: price_range, field: price, range: [0, 1000.10]}
  - {code: rate_known, field: rate, in: [0.1, 0.105, 7]}
  - {code: time_range, field: at, time: [2020-01-01, 2030-01-01], ahead: any}
repairs:
  - {does: unit, field: price, divided_by: 100}
  - {does: default, field: price, value: "1.5"}
  - {does: unit, field: rate, times: 3, divided_by: 1000}
  - {does: default, field: rate, value: 7}
  - {does: unit, field: at, times: 1_000}
  - {does: parse_time, field: at, of: told, format: "%Y-%m-%d"}
  - {does: default, field: at, value: 2021-01-01T00:00:00Z}
"""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sale(
    price: str = "1", rate: str | None = None, at: datetime = NOON, told: str = ""
) -> bytes:
    out = io.BytesIO()
    fields = {
        "price": Decimal(price), "rate": rate and Decimal(rate), "at": at, "told": told,
    }  # fmt: skip
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), fields)
    return b"\0\0\0\0\1" + out.getvalue()


def check(*values: bytes, text: str = TEXT) -> Any:
    decoded = Decoder(SCHEMA, {1: SCHEMA}.__getitem__).decode([*values], [None] * len(values))
    assert not decoded.refusals
    contract = read_contract(text, SCHEMA, "sale")
    return contract.check(decoded.frame, pl.Series([-1] * len(values)))


def test_decimals_are_compared_as_they_are_written() -> None:
    checks = TEXT.partition("repairs:")[0]
    values = [
        sale("0"), sale("1000.10"), sale("1000.11"), sale("-0.01"),
        sale(rate="0.1"), sale(rate="0.105"), sale(rate="0.106"), sale(rate="7"),
    ]  # fmt: skip
    found = check(*values, text=checks)
    assert found.good.to_list() == [True, True, False, False, True, True, False, True]
    assert {each.code for each in found.refusals} == {"price_range", "rate_known"}
    assert "price: 0 to 1000.1" in found.refusals[0].message


def test_they_are_repaired_to_the_digits_that_they_have() -> None:
    found = check(
        sale("1234.56"),  # hundredths of what it should be
        sale("-1234.56"),  # down, and still no price
        sale("99999999.99"),
        sale(rate="35.000"),
        sale(rate="33.334"),  # 0.100002, down
        sale(rate="-1"),
    )
    assert found.good.all()
    assert found.frame["price"].to_list()[:3] == [
        Decimal("12.34"), Decimal("1.50"), Decimal("1.50")
    ]  # fmt: skip
    assert found.frame["rate"].to_list()[3:] == [
        Decimal("0.105"), Decimal("0.100"), Decimal("7.000")
    ]  # fmt: skip
    assert found.frame.schema["price"] == pl.Decimal(10, 2)
    assert json.loads(found.frame[REPAIRS][0]) == [
        {"field": "price", "was": "1234.56", "by": ["unit"]}
    ]
    assert found.repaired[("price", "default")] == 2


def test_what_is_beyond_the_digits_stays_refused() -> None:
    text = """
checks: [{code: range, field: price, range: [0, 1]}]
repairs: [{does: unit, field: price, times: 1000}]
"""
    found = check(sale("99999999.99"), sale("-99999999.99"), text=text)
    assert not found.good.any()
    assert found.frame["price"].to_list() == [Decimal("99999999.99"), Decimal("-99999999.99")]


def test_times_in_milliseconds_are_checked_and_repaired() -> None:
    seconds = datetime(1970, 1, 21, 12, 34, 56, tzinfo=UTC)
    early = datetime(1999, 1, 1, tzinfo=UTC)
    found = check(sale(), sale(at=seconds), sale(at=early, told="2024-02-29"), sale(at=early))
    assert found.good.all()
    assert found.frame["at"].to_list() == [
        NOON,
        datetime.fromtimestamp(seconds.timestamp() * 1000, UTC),
        datetime(2024, 2, 29, tzinfo=UTC),
        datetime(2021, 1, 1, tzinfo=UTC),
    ]
    checks = TEXT.partition("repairs:")[0]
    assert check(sale(), sale(at=early), text=checks).good.to_list() == [True, False]


@pytest.mark.parametrize(
    ("repair", "why"),
    [
        ("{does: default, field: price, value: much}", "'much' is no decimal number"),
        ("{does: default, field: price, value: .inf}", "inf is no decimal number"),
        ("{does: default, field: at, value: noon}", "Invalid isoformat string: 'noon'"),
        ("{does: default, field: at, value: 5}", "5 is no value of a field of type timestamp"),
        ("{does: trim, field: price}", "trim is not for a field of type decimal"),
    ],
)
def test_what_is_no_value_of_theirs_is_refused(repair: str, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        read_contract(f"checks: []\nrepairs: [{repair}]", SCHEMA, "sale")

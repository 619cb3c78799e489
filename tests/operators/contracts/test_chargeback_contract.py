from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from flows.streams import CHARGEBACKS
from operators.contracts import load_contract

GOOD: dict[str, Any] = {
    "chargeback_id": "cb-1",
    "event_time": datetime(2024, 5, 1, tzinfo=UTC),
    "payment_id": "p-1",
    "card_id": "c-1",
    "amount_minor": 1_000,
    "currency": "EUR",
    "reason_code": "10.4",
    "fraud": True,
}


def codes(**changes: Any) -> list[str]:
    frame = pl.DataFrame([GOOD, GOOD | changes], schema=CHARGEBACKS.fields)
    kafka_ms = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp() * 1000)
    good, refusals, *_ = load_contract("chargeback").check(
        frame, pl.Series([kafka_ms, kafka_ms])
    )
    assert good.to_list() == [True, not refusals]
    assert all(refusal.row == 1 and refusal.stage == "contract" for refusal in refusals)
    return [refusal.code for refusal in refusals]


def test_a_good_chargeback_passes():
    assert codes() == []
    assert codes(amount_minor=0, fraud=False) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chargeback_id": ""}, "id_length"),
        ({"payment_id": "x" * 129}, "id_length"),
        ({"card_id": ""}, "id_length"),
        ({"reason_code": ""}, "reason_length"),
        ({"reason_code": "x" * 17}, "reason_length"),
        ({"amount_minor": -1}, "amount_range"),
        ({"currency": "eur"}, "currency_format"),
        ({"event_time": datetime(2024, 5, 2, tzinfo=UTC)}, "event_time_range"),
        ({"event_time": datetime(1999, 5, 2, tzinfo=UTC)}, "event_time_range"),
    ],
)
def test_a_broken_one_is_refused_with_its_code(changes, code):
    assert codes(**changes) == [code]

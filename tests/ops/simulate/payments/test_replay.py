from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ops.simulate import replay_file

DATA = Path(__file__).parents[5] / "shared" / "data" / "card-transactions-2018-q2.parquet"


def frame(**columns) -> pl.DataFrame:
    base = {
        "transaction_id": [0, 1, 2, 3],
        "event_time": [datetime(2018, 4, 1, 0, 0, second) for second in (5, 3, 5, 1)],  # noqa: DTZ001
        "customer_id": [7, 8, 7, 9],
        "terminal_id": [1, 2, 3, 4],
        "amount": [57.16, 0.29, 1.15, 0.0],
        "is_fraud": [False, True, False, False],
    }
    return pl.DataFrame({**base, **columns})


def test_payments_are_replayed_in_event_time_order_with_the_constants(tmp_path):
    frame().write_parquet(tmp_path / "p.parquet")
    simulation = replay_file(tmp_path / "p.parquet", partitions=2)
    payments = simulation.events
    assert payments["payment_id"].to_list() == ["3", "1", "0", "2"]
    assert payments.row(2, named=True) == {
        "payment_id": "0",
        "event_time": datetime(2018, 4, 1, 0, 0, 5, tzinfo=UTC),
        "card_id": "7",
        "customer_id": "7",
        "terminal_id": "1",
        "amount_minor": 5716,
        "currency": "EUR",
        "merchant_category": "5999",
        "country": "BE",
        "latitude": None,
        "longitude": None,
        "channel": "POS",
        "device_id": None,
        "recurring": False,
        "is_fraud": False,
        "scenario": 0,
    }
    # A payment of nothing is a card check, not a breach of the contract.
    assert simulation.truth["place"].to_list() == ["silver"] * 4
    assert simulation.records["key"].to_list() == [b"9", b"8", b"7", b"7"]


def test_a_part_can_be_chosen(tmp_path):
    frame().write_parquet(tmp_path / "p.parquet")
    since = datetime(2018, 4, 1, 0, 0, 3, tzinfo=UTC)
    part = replay_file(tmp_path / "p.parquet", since=since, limit=2)
    assert part.events["payment_id"].to_list() == ["1", "0"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"amount": [1.0, 2.0, 3.0, 4.005]}, "more than two decimals"),
        ({"amount": [1.0, 2.0, 3.0, None]}, "nulls in column amount"),
        ({"amount": [1.0, 2.0, 3.0, float("nan")]}, "more than two decimals"),
        ({"event_time": [1, 2, 3, 4]}, "not a timestamp"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, columns, message):
    frame(**columns).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match=message):
        replay_file(tmp_path / "p.parquet")


def test_a_missing_column_and_no_parquet_are_refused(tmp_path):
    frame().drop("amount").write_parquet(tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="no column amount"):
        replay_file(tmp_path / "p.parquet")
    (tmp_path / "q.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="not a parquet file"):
        replay_file(tmp_path / "q.parquet")
    with pytest.raises(FileNotFoundError):
        replay_file(tmp_path / "r.parquet")


@pytest.mark.skipif(not DATA.exists(), reason=f"the public data set is not at {DATA}")
def test_the_public_data_set_is_kept_whole_and_exact():
    raw = pl.read_parquet(DATA)
    simulation = replay_file(DATA)
    assert simulation.records.height == simulation.truth.height == raw.height == 872_795
    payments = simulation.events
    assert payments["event_time"].is_sorted()
    joined = raw.with_columns(pl.col("transaction_id").cast(pl.String())).join(
        payments, left_on="transaction_id", right_on="payment_id"
    )
    assert joined.height == raw.height
    assert (joined["is_fraud"] == joined["is_fraud_right"]).all()
    assert (joined["fraud_scenario"] == joined["scenario"]).all()
    assert (joined["event_time"].dt.cast_time_unit("us").to_physical()
            == joined["event_time_right"].to_physical()).all()  # fmt: skip
    pairs = joined.select("amount", "amount_minor").unique()
    for amount, minor in pairs.iter_rows():
        # Five times a decimal is not always the nearest float: 152.79999999999998.
        assert Decimal(repr(amount)).quantize(Decimal("0.01")) * 100 == minor
    assert (simulation.truth["place"] == "silver").all()

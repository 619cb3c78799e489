from datetime import timedelta

import polars as pl
import pytest

import schemas
from operators.avro import Decoder
from operators.connectors.registry import schema_source as registry
from operators.contracts import load_contract
from ops.simulate import Params, simulate, simulate_chargebacks

PAYMENTS = simulate(Params(payments=20_000, customers=300, terminals=300)).events
ALL = PAYMENTS.with_columns(is_fraud=pl.lit(value=True))


def test_equal_arguments_give_equal_bytes():
    first, again = (simulate_chargebacks(ALL, 0.2, seed=3) for _ in range(2))
    assert first.records.equals(again.records)
    assert not first.records.equals(simulate_chargebacks(ALL, 0.2, seed=4).records)


def test_frauds_are_charged_back_and_few_others():
    raised = simulate_chargebacks(PAYMENTS, 1.0).raised
    assert raised["fraud"].sum() == PAYMENTS["is_fraud"].sum() > 0
    others = (~raised["fraud"]).sum()
    assert 0.01 < others / (~PAYMENTS["is_fraud"]).sum() < 0.03


def test_most_are_good_chargebacks_of_payments_and_every_trouble_comes():
    made = simulate_chargebacks(ALL, 0.5, within=timedelta(hours=6))
    decoder = Decoder(schemas.latest("chargeback"), registry.open_registry(""))
    values = made.records["value"].to_list()
    decoded = decoder.decode(values, [None] * len(values))
    broken = len(values) - decoded.frame.height
    unknown = pl.Series([None] * decoded.frame.height, dtype=pl.Int64)
    good, refusals, *_ = load_contract("chargeback").check(decoded.frame, unknown)
    frame = decoded.frame.filter(good)
    n = len(values)
    assert 0.005 < broken / n < 0.02
    assert 0.005 < len(refusals) / n < 0.02
    assert 0.01 < frame["chargeback_id"].is_duplicated().sum() / 2 / n < 0.03
    both = frame.join(PAYMENTS.select("payment_id", paid="event_time"), on="payment_id")
    assert 0.97 < both.height / frame.height < 0.999
    after = both["event_time"] - both["paid"]
    assert after.min() >= timedelta(0)
    assert 0.005 < (after > timedelta(hours=6)).mean() < 0.04
    assert not frame["event_time"].is_sorted()


def test_none_and_what_is_no_share():
    assert len(simulate_chargebacks(PAYMENTS, 0.0).records) == 0
    with pytest.raises(ValueError, match=r"chargebacks: 1\.5 is no share"):
        simulate_chargebacks(PAYMENTS, 1.5)

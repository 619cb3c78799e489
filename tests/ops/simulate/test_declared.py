from collections import Counter
from dataclasses import fields, replace

import polars as pl
import pytest

from flows.streams import CLICKS
from ops.simulate import DeclaredParams, Troubles, simulate_declared
from tests.ops.simulate import parcels as module
from tests.ops.simulate.parcels import CONTRACT, parcels

SMALL = DeclaredParams(records=2_000, seed=7)
ROUGH = Troubles(**{entry.name: 0.03 for entry in fields(Troubles)})


def test_equal_parameters_give_equal_bytes_and_another_seed_others():
    one, two = simulate_declared(CLICKS, SMALL), simulate_declared(CLICKS, SMALL)
    for name in ("events", "records", "truth"):
        assert getattr(one, name).equals(getattr(two, name)), name
    other = simulate_declared(CLICKS, replace(SMALL, seed=8))
    assert not set(one.events["click_id"]) & set(other.events["click_id"])
    rough = simulate_declared(CLICKS, replace(SMALL, troubles=ROUGH))
    assert rough.events.equals(one.events)


def test_ids_are_unique_and_a_few_keys_have_most_events():
    made = simulate_declared(CLICKS, replace(SMALL, records=20_000, keys=200))
    assert made.events["click_id"].n_unique() == 20_000
    shares = sorted(Counter(made.events["user_id"]).values(), reverse=True)
    assert len(shares) == 200
    assert sum(shares[:20]) > 0.5 * 20_000 > 50 * shares[-1]
    keyed = made.truth.with_columns(made.records["key"].cast(pl.String)).filter(kind="ok")
    both = keyed.join(made.events, on="click_id")
    assert both.height == keyed.height
    assert (both["key"] == both["user_id"]).all()


def test_without_a_contract_nothing_is_sent_against_it(tmp_path, monkeypatch):
    stream = parcels(tmp_path, monkeypatch, "checks: []")
    made = simulate_declared(stream, replace(SMALL, troubles=ROUGH))
    kinds = set(made.truth["kind"])
    assert "contract" not in kinds
    assert len(kinds) == len(fields(Troubles))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{code: c, where: weight_g < 0 AND weight_g > 0}",
         "no parcel_.* can be made that its contract allows: weight_g: weight_g < 0 AND"),
        ("{code: c, field: parcel, bytes: [1, 2]}", "parcel is too short to tell 200 events"),
        ("{code: c, field: note, pattern: (ab)+}", r"no text can be made that matches \(ab\)\+"),
        ("{code: c, field: parcel, pattern: x+}", "no parcel_.* can be made .*: matches x"),
    ],
)  # fmt: skip
def test_a_contract_that_no_events_can_be_made_for_is_told(
    wrong, message, tmp_path, monkeypatch
):
    assert wrong not in CONTRACT
    stream = parcels(tmp_path, monkeypatch, f"checks:\n  - {wrong}\n")
    with pytest.raises(ValueError, match=message):
        simulate_declared(stream, replace(SMALL, records=200))


def test_a_field_that_no_values_are_made_for_is_named(tmp_path, monkeypatch):
    route = {"name": "route", "type": {"type": "array", "items": "string"}}
    day = {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]}
    monkeypatch.setattr(module, "FIELDS", [*module.FIELDS, route, day])
    stream = parcels(tmp_path, monkeypatch)
    with pytest.raises(
        ValueError, match=r"its fields route \(array\), day \(date\) are of types"
    ):
        simulate_declared(stream, replace(SMALL, records=200))


def test_bad_parameters_are_told_all_at_once():
    with pytest.raises(ValueError, match=r"late is 2, not a share.*records is 0.*keys is 0"):
        DeclaredParams(records=0, keys=0, troubles=Troubles(late=2))

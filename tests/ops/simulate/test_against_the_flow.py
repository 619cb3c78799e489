"""The truth is what the flow's own decoder and contract say, record by record."""

import uuid
from dataclasses import fields
from datetime import UTC, datetime

import polars as pl
import pytest

import schemas
from flows.streams import CLICKS, PAYMENTS, Stream
from operators.avro import Decoder
from operators.contracts import load_contract
from ops.simulate import (
    DeclaredParams,
    Params,
    Simulation,
    Troubles,
    simulate,
    simulate_declared,
)
from ops.simulate.encode import SCHEMA_HEADER
from tests.ops.simulate.parcels import parcels

ROUGH = Troubles(**{entry.name: 0.02 for entry in fields(Troubles)})
MANY = DeclaredParams(records=4_000, troubles=ROUGH)


def assert_refused_as_told(stream: Stream, simulation: Simulation, *added: str) -> None:
    """Compare all but the columns that were `added` after the first version."""
    record = stream.record
    ids: dict[int | uuid.UUID, int] = {
        make(record, version): version
        for version in schemas.versions(record)
        for make in (schemas.local_id, schemas.local_guid)
    }
    decoder = Decoder(
        schemas.latest(record), lambda schema_id: schemas.load(record, ids[schema_id])
    )
    headers = [
        None if header is None else [(SCHEMA_HEADER, header)]
        for header in simulation.records["header"]
    ]
    decoded = decoder.decode(simulation.records["value"].to_list(), headers)
    unknown = pl.Series([None] * decoded.frame.height, dtype=pl.Int64)
    good, refusals, *_ = load_contract(record).check(decoded.frame, unknown)

    stages = [None] * simulation.truth.height
    codes = [None] * simulation.truth.height
    for refusal in decoded.refusals:
        stages[refusal.row], codes[refusal.row] = refusal.stage, refusal.code
    for refusal in refusals:
        row = decoded.rows[refusal.row]
        stages[row], codes[row] = refusal.stage, refusal.code
    assert codes == simulation.truth["code"].to_list()
    assert stages == simulation.truth["stage"].to_list()

    kept = decoded.frame.filter(good).drop(added).unique(stream.id)
    assert kept.height == (simulation.truth["place"] == "silver").sum() > 2_000
    happened = simulation.events.select(kept.columns)
    assert kept.sort(stream.id).equals(
        happened.join(kept, on=stream.id, how="semi").sort(stream.id)
    )


def test_the_flow_refuses_what_the_truth_expects():
    made = simulate(Params(customers=500, terminals=2_000, payments=20_000, troubles=ROUGH))
    assert_refused_as_told(PAYMENTS, made, "recurring")


def test_the_same_of_what_is_made_of_a_streams_declaration():
    made = simulate_declared(CLICKS, MANY)
    assert_refused_as_told(CLICKS, made)
    codes = made.truth.filter(stage="contract")["code"]
    assert set(codes) == {"id_length", "cost_range", "event_time_range"}
    assert made.truth["stream"].unique().to_list() == ["clicks"]


def test_the_same_of_every_type_and_every_check(tmp_path, monkeypatch):
    stream = parcels(tmp_path, monkeypatch)
    made = simulate_declared(stream, MANY)
    assert_refused_as_told(stream, made, "lane")
    codes = made.truth.filter(stage="contract")["code"]
    assert set(codes) == {
        "id_length", "depot_form", "note_length", "no_xl", "weight", "volume", "cents",
        "over_insured", "time", "lane",
    }  # fmt: skip
    # By hand what the contract says.
    events = made.events
    assert events["depot"].str.contains(r"^([A-Z]{2}-\d{3}|HUB[1-9]?)$").all()
    assert events["parcel"].str.len_bytes().is_between(6, 12).all()
    assert events["note"].str.len_bytes().max() == 5
    assert set(events["size"]) == {"S", "M", "L"}
    assert set(events["lane"]) == {"A1", "B2"}
    assert events["weight_g"].max() == 30_000
    assert (events["volume"].min(), events["volume"].max()) == (0.5, 3.5)
    assert (events["insured"] <= events["cents"]).all()
    assert events["cents"].max() == 9 * 10**18
    assert events["packed"].min() == datetime(2018, 4, 1, tzinfo=UTC)
    for name in ("note", "cents", "insured", "packed"):
        assert 0 < events[name].is_null().mean() < 0.2, name


@pytest.mark.parametrize("how", ["pace", "gaps"])
def test_event_time_moves_on(how):
    start = datetime(2026, 1, 2, tzinfo=UTC)
    params = DeclaredParams(
        records=1_000, start=start, pace=250.0 if how == "pace" else None, seed=3
    )
    times = simulate_declared(CLICKS, params).events["event_time"]
    steps = times.diff().drop_nulls().dt.total_microseconds()
    assert times.is_sorted()
    assert times[0] >= start
    if how == "pace":
        assert set(steps) == {4_000}
    else:
        assert 0.9e6 < steps.mean() < 1.1e6

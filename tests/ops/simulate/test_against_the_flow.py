"""The truth is what the flow's own decoder and contract say, record by record."""

import uuid
from dataclasses import fields

import polars as pl

import schemas
from operators.avro import Decoder
from operators.contracts import load_contract
from ops.simulate import Params, Troubles, simulate
from ops.simulate.encode import SCHEMA_HEADER

ROUGH = Troubles(**{entry.name: 0.02 for entry in fields(Troubles)})
IDS: dict[int | uuid.UUID, int] = {
    make("payment", version): version
    for version in schemas.versions("payment")
    for make in (schemas.local_id, schemas.local_guid)
}


def test_the_flow_refuses_what_the_truth_expects():
    simulation = simulate(
        Params(customers=500, terminals=2_000, payments=20_000, troubles=ROUGH)
    )
    decoder = Decoder(
        schemas.latest("payment"), lambda schema_id: schemas.load("payment", IDS[schema_id])
    )
    headers = [
        None if header is None else [(SCHEMA_HEADER, header)]
        for header in simulation.records["header"]
    ]
    decoded = decoder.decode(simulation.records["value"].to_list(), headers)
    unknown = pl.Series([None] * decoded.frame.height, dtype=pl.Int64)
    good, refusals = load_contract("payment").check(decoded.frame, unknown)

    stages = [None] * simulation.truth.height
    codes = [None] * simulation.truth.height
    for refusal in decoded.refusals:
        stages[refusal.row], codes[refusal.row] = refusal.stage, refusal.code
    for refusal in refusals:
        row = decoded.rows[refusal.row]
        stages[row], codes[row] = refusal.stage, refusal.code
    assert codes == simulation.truth["code"].to_list()
    assert stages == simulation.truth["stage"].to_list()

    kept = decoded.frame.filter(good).drop("recurring").unique("payment_id")
    happened = simulation.events.select(kept.columns)
    assert kept.sort("payment_id").equals(
        happened.join(kept, on="payment_id", how="semi").sort("payment_id")
    )

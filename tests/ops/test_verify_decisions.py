"""How decisions were made, row by row, by what their table and that of alerts tell."""

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from flows.tables import BY_CHANGES
from operators.connectors.delta.definitions import Told
from operators.control.changes import read_change, written
from operators.control.state import State
from operators.decisions.columns import MODEL
from ops.verify.decided import Decided, inputs

ROWS = pl.DataFrame(
    {"source_partition": [0, 0, 0, 1, 1], "source_offset": [4, 5, 9, 4, 9]},
    {"source_partition": pl.Int32, "source_offset": pl.Int64},
)


def at(*lasts: int) -> dict:
    """What a table accounted for: the last offset of each partition."""
    return {("t", partition): last for partition, last in enumerate(lasts)} | {("o", 0): 99}


def decided(told: dict | None = None, of_alerts: dict | None = None) -> Decided:
    return Decided(PAYMENTS, "t", told or {}, of_alerts or {})


def test_a_threshold_is_that_of_the_rows_behind_what_the_flow_had_when_it_came():
    told = {"threshold review": [Told("50.0"), Told("70.5", at(8, 8), 0, at(4, 4))]}
    found = decided(told).threshold_at("review", ROWS)
    assert found.tolist() == [50, 50, 70.5, 50, 70.5]
    # One that the table has of behind its own rows was made again after a crash.
    found = decided(told).threshold_at("review", ROWS, ROWS[1:2])
    assert found.tolist() == [50, 70.5, 70.5, 50, 70.5]
    assert np.isnan(decided().threshold_at("review", ROWS)).all()


def test_only_of_rows_that_the_model_was_asked_for_is_a_missing_score_a_failure():
    columns = {
        name: kind for name, kind in inputs(PAYMENTS).items() if name not in ROWS.columns
    }
    rows = ROWS.with_columns(pl.lit(None, kind).alias(name) for name, kind in columns.items())
    rows = rows.with_columns(source_topic=pl.lit("t"))
    told = {
        "decided by model": [
            Told("1", at(4, 4), 0, at(4, 4)),
            Told(None, at(8, 8), 0, at(8, 8)),
        ],
        **{f"threshold {n}": [Told("50.0")] for n in ("review", "block")},
        **{f"threshold model_{n}": [Told("0.5")] for n in ("review", "block")},
    }
    alerts = pl.DataFrame(schema=PAYMENTS.alerts.columns)
    made = decided(told).made(rows, alerts, lambda _: (), {})
    assert made.select("source_partition", "source_offset").rows() == [(0, 5)]
    assert made["without_model"].to_list() == [True]
    scored = rows.with_columns(pl.lit(0.7).alias(MODEL))
    made = decided(told).made(scored, alerts, lambda _: (), {})
    assert made.select("source_offset", "decision", "decided_by").rows() == [
        (5, "block", "model")
    ]


def test_of_a_model_that_came_later_no_earlier_payment_was_asked():
    # No payment had been decided but plainly: the table had no row, and the flow had come to 8.
    told = {"decided by model": [Told("1", at(8, 8), 0, {})]}
    assert decided(told).model_of(ROWS) == [None, None, "1", None, "1"]
    # What a crash had the flow decide again was by the model, which silver knows nothing of.
    recorded = ROWS.with_columns(model_score=pl.Series([None, 0.9, 0.9, None, None]))
    assert decided(told).remade(recorded).tolist() == [False, True, False, False, False]


def test_changes_are_named_of_rows_behind_what_the_flow_had_when_decisions_began_to_name_them():
    key, value = written("threshold", "review", 40.0, "who", "why")
    state = State([read_change(7, 0, key, value)])
    rows = ROWS.with_columns(
        kafka_timestamp=pl.Series([0, 10**9, 10**9, 10**9, 10**9]).cast(
            pl.Datetime("us", "UTC")
        )
    )
    told = {BY_CHANGES: [Told("1", at(4, 4), 0, at(4, 3))]}
    found = Decided(PAYMENTS, "t", told, {}, state).versions(rows, rows[:4])
    assert found["thresholds_change"].to_list() == [None, 7, 7, 7, 7]
    assert found["lists_change"].to_list() == [None] * 5
    # An earlier release named none, and without a control topic there is none to name.
    for none in (Decided(PAYMENTS, "t", {}, {}, state), Decided(PAYMENTS, "t", told, {})):
        assert none.versions(rows)["thresholds_change"].to_list() == [None] * 5


def test_rows_are_held_to_alerts_that_the_same_rules_have_found():
    began = {"threshold review": [Told("50.0", at(4, 3))]}
    assert decided(began).comparable(ROWS).tolist() == [False, True, True, True, True]
    # A crash has kept an epoch from the table of decisions, and then the rule was another.
    told = {"rule r": [Told("1"), Told("2", at(8, 8), 0, at(4, 4))]}
    alerts = {"rule r": [Told("1"), Told("2", at(8, 8), 0, at(8, 4))]}
    assert decided(told, alerts).comparable(ROWS).tolist() == [True, False, True, True, True]
    # Of what was changed at one time in one table alone nothing is known to differ.
    assert decided(told, {}).comparable(ROWS).all()


def test_a_message_without_a_row_is_of_before_or_of_what_a_crash_took_before_a_change():
    told = {"threshold review": [Told("50.0", at(4, 4)), Told("60.0", at(8, 8), 0, at(8, 8))]}
    may = decided(told).may_be_more
    assert [may(f"t/0/{offset}") for offset in (4, 5, 8, 9)] == [True, False, False, True]
    assert not decided({"threshold review": [Told("50.0")]}).may_be_more("t/1/0")

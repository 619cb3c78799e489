"""Incremental snapshots in a real dataflow: features, across crashes and numbers of workers."""

import sqlite3
from datetime import timedelta
from functools import partial

import bytewax.operators as op
import numpy as np
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, cluster_main

from flows.streams import PAYMENTS
from operators import metrics
from operators.connectors import recovery
from operators.features import PartitionFeatures
from operators.records.batches import Batch, Progress
from operators.records.tables import TIME
from operators.state.shards import SHARDS
from operators.steps.features import features
from tests.operators.steps.crashing import Crashing

TOPICS, SIZE, PARTITIONS, BOUND = 60, 30, 5, 20_000_000


def batches() -> list[Batch]:
    """Batches of each partition in turn, each partition with cards of its own and of others."""
    random, made = np.random.default_rng(1), []
    for number in range(TOPICS * PARTITIONS):
        partition, at = number % PARTITIONS, number // PARTITIONS
        offsets = np.arange(at * SIZE, (at + 1) * SIZE)
        times = offsets * 40_000_000 + random.integers(-BOUND, 2 * BOUND, SIZE)
        frame = pl.DataFrame(
            {
                "source_partition": np.full(SIZE, partition),
                "source_offset": offsets,
                "event_time": pl.Series(times + 10**15).cast(TIME),
                "card_id": [f"card-{card}" for card in random.integers(0, 60, SIZE)],
                "amount_minor": random.integers(0, 10**6, SIZE),
                "latitude": random.uniform(-60, 60, SIZE),
                "longitude": random.uniform(-180, 180, SIZE),
            }
        )
        made.append(Batch(Progress("t", partition, PARTITIONS, int(offsets[-1])), frame))
    return made


def expected() -> pl.DataFrame:
    states = [PAYMENTS.features.make(BOUND) for _ in range(PARTITIONS)]
    return pl.concat(states[b.progress.partition].advance(b.frame) for b in batches())


def dataflow(source: Crashing, found: list[Batch]) -> Dataflow:
    flow = Dataflow("flow")
    up = op.input("input", flow, source)
    op.output(
        "found",
        features("features", up, partial(PAYMENTS.features.make, BOUND), 60.0),
        TestingSink(found),
    )
    return flow


def run(folder, flow: Dataflow, workers: int = 1) -> None:
    recovery.prepare(folder)
    cluster_main(
        flow, [], 0, worker_count_per_proc=workers, epoch_interval=timedelta(0),
        recovery_config=RecoveryConfig(folder),
    )  # fmt: skip


def check(found: list[Batch]) -> None:
    # The sink has no fence, so what was replayed is there twice, and equal.
    place = ["source_partition", "source_offset"]
    rows = pl.concat(batch.frame for batch in found).unique().sort(place)
    assert rows.equals(expected().sort(place))


def ask(folder, sql: str) -> list[tuple]:
    with sqlite3.connect(folder / "part-0.sqlite3") as store:
        found = store.execute(sql).fetchall()
    store.close()
    return found


def test_crashes_and_other_numbers_of_workers_change_nothing(tmp_path):
    # A crash of one of two threads would wait for the other for ever.
    source = Crashing(batches(), crashes=(3, 70, 71, 160), stops=(100, 200, 201, 250))
    found: list[Batch] = []
    flow = dataflow(source, found)
    for workers in (1, 1, 1, 2, 1, 2, 1, 2, 2):
        run(tmp_path, flow, workers)
    assert not source.crashes | source.stops
    check(found)


def test_a_new_process_finds_all_that_the_old_one_kept(tmp_path):
    source = Crashing(batches(), crashes=(203, 261))
    found: list[Batch] = []
    for _ in range(3):
        run(tmp_path, dataflow(source, found))
    check(found)


def test_an_epoch_writes_the_head_and_a_part_now_and_then(tmp_path):
    metrics.STATE_BYTES.clear()
    # It dies, as an end of the input would write every part.
    run(tmp_path, dataflow(Crashing(batches(), crashes=(280,)), []))
    wrote = ask(
        tmp_path,
        "SELECT snap_epoch, count(*) FROM snaps WHERE step_id LIKE 'flow.features.kept.part_%' "
        "GROUP BY snap_epoch",
    )
    assert len(wrote) > 50
    assert {count for _, count in wrote} == {1}
    keys = ask(tmp_path, "SELECT DISTINCT step_id, state_key FROM snaps")
    parts = {(step, key) for step, key in keys if ".kept.part_" in step}
    assert len(parts) == SHARDS * PARTITIONS
    (family,) = metrics.STATE_BYTES.collect()
    shown = {(s.labels["step"], s.labels["key"]) for s in family.samples}
    assert ("features", "t/4") in shown
    assert ("features.kept", f"t/4/{SHARDS - 1}") in shown


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("step_id = 'flow.features.kept.part_3' AND state_key = 't/2'", "are missing"),
        ("step_id = 'flow.features.cards' AND state_key = 't/2'", "without the state"),
    ],
)
def test_a_store_that_has_lost_some_of_a_state_is_refused(tmp_path, gone, message):
    source = Crashing(batches(), crashes=(280,))
    run(tmp_path, dataflow(source, []))
    ask(tmp_path, f"DELETE FROM snaps WHERE {gone} RETURNING 1")
    # Bytewax names the step and the key, and what was raised there is its cause.
    with pytest.raises(BytewaxRuntimeError, match=r'on_batch.*cards" for key "t/2"') as raised:
        run(tmp_path, dataflow(source, []))
    assert message in str(raised.value.__cause__)


def test_a_state_of_a_version_that_is_not_known_is_refused(tmp_path, monkeypatch):
    source = Crashing(batches(), crashes=(9,))
    run(tmp_path, dataflow(source, []))
    monkeypatch.setattr(PartitionFeatures, "VERSION", PartitionFeatures.VERSION + 1)
    with pytest.raises(ValueError, match="PartitionFeatures of state version 3"):
        run(tmp_path, dataflow(source, []))


def test_features_are_the_same_without_recovery():
    found: list[Batch] = []
    cluster_main(dataflow(Crashing(batches()), found), [], 0)
    check(found)

"""The steps in a real dataflow: key groups, crashes and resumes, any batches."""

from datetime import timedelta

import bytewax.operators as op
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main

from operators import metrics
from operators.connectors import recovery
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Batch, Progress
from operators.records.tables import MISSED, late_columns
from operators.steps.windows import aggregate
from operators.windows import Windows, agg, session, sliding, tumbling
from tests.operators.steps.crashing import Crashing
from tests.operators.windows.model import Record, expected, frame, open_now, shown

AGGS = {"payments": agg.count(), "total": agg.sum("amount"), "cards": agg.distinct("card")}
KINDS = {
    "tumbling": {"window": tumbling(60), "lateness": 40},
    "sliding": {"window": sliding(60, every=20), "lateness": 10},
    "session": {"window": session(30)},
    "session, again": {"window": session(30, step=10), "lateness": 60, "early": 20},
}
TOPIC = pl.lit("t").alias("source_topic")


def records() -> list[Record]:
    """200 records of 9 keys in two partitions, some far behind."""
    result, largest = [], {0: None, 1: None}
    for n in range(200):
        partition, offset = n % 2, n // 2
        time = 7 * n - (n * n * 37 % 150 if n % 5 == 0 else n % 11)
        seen = largest[partition]
        mark = NO_WATERMARK if seen is None else seen - 20
        result.append(Record(partition, offset, f"k{n % 9}", time, n, f"c{n % 4}", mark))
        largest[partition] = time if seen is None else max(time, seen)
    return result


def batches(size: int) -> list[Batch]:
    result, marks = [], {}
    for partition in (0, 1):
        mine = [r for r in records() if r.partition == partition]
        for first in range(0, len(mine), size):
            part = mine[first : first + size]
            mark = max([r.time for r in part] + [marks.get(partition, -(10**9)) + 20]) - 20
            marks[partition] = mark
            progress = Progress("t", partition, 2, part[-1].offset, mark)
            result.append(Batch(progress, frame(part).with_columns(TOPIC)))
    result.sort(key=lambda b: b.progress.offset)
    empty = frame([]).with_columns(TOPIC)
    ends = [Progress("t", p, 2, 99, END_OF_INPUT) for p in (0, 1)]
    return [*result, *(Batch(end, empty) for end in ends)]


def dataflow(kind: str, source: Crashing, panes: list, late: list) -> Dataflow:
    flow = Dataflow("flow")
    up = op.input("input", flow, source)
    out = aggregate("windows", up, by=["key"], aggs=AGGS, groups=4, **KINDS[kind])
    op.output("panes", out.panes, TestingSink(panes))
    op.output("late", out.late, TestingSink(late))
    return flow


def windows_of(kind: str):
    return Windows(by=("key",), aggregates=AGGS, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_batches_give_the_panes_of_the_model(kind, size):
    panes, late = [], []
    run_main(dataflow(kind, Crashing(batches(size)), panes, late))
    model, missed = expected(windows_of(kind), records())
    assert shown(windows_of(kind), panes) == model
    rows = pl.concat(late)
    assert rows.schema == pl.Schema(late_columns((), MISSED))
    place = ["source_partition", "source_offset", pl.col("window_start").to_physical()]
    assert sorted(rows.select(place).rows()) == missed
    assert set(rows["step"]) == {"windows"}
    assert rows["lateness_us"].min() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_crashes_lose_and_change_nothing(kind, tmp_path):
    recovery.prepare(tmp_path)
    config = RecoveryConfig(tmp_path)
    source = Crashing(batches(9), (3, 4, 9, 15))
    panes, late = [], []
    flow = dataflow(kind, source, panes, late)
    for _ in range(5):
        # Panes are not touched in every epoch: they lean on this to purge what never committed.
        recovery.prepare(tmp_path)
        run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    # The sink here has no fence, so what was replayed is there twice, and equal.
    once = pl.concat(panes).unique()
    model, _ = expected(windows_of(kind), records())
    assert shown(windows_of(kind), [once]) == model


@pytest.mark.parametrize("kind", KINDS)
def test_the_windows_that_are_open_are_counted_also_where_a_resume_has_not_touched_them(
    kind, tmp_path
):
    recovery.prepare(tmp_path)
    config, each = RecoveryConfig(tmp_path), timedelta(0)
    without_ends = batches(9)[:-2]
    flow = dataflow(kind, Crashing(without_ends), [], [])
    run_main(flow, epoch_interval=each, recovery_config=config)
    marks = {b.progress.partition: b.progress.watermark for b in without_ends}
    counted = open_now(windows_of(kind), records(), min(marks.values()))
    assert counted > 5
    assert open_windows() == counted
    metrics.OPEN_WINDOWS.clear()
    # The source is at its end, so no window gets anything.
    flow = dataflow(kind, Crashing(without_ends), [], [])
    run_main(flow, epoch_interval=each, recovery_config=config)
    assert open_windows() == counted


def open_windows() -> float:
    (gauge,) = metrics.OPEN_WINDOWS.collect()
    # Other tests of this process may have had steps of other names.
    (sample,) = (each for each in gauge.samples if each.labels == {"step": "windows"})
    return sample.value

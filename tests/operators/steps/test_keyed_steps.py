"""The Bytewax steps give what the pure operators give, across stops, resumes and workers."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, cluster_main

from operators import metrics
from operators.connectors import recovery
from operators.joins import IntervalJoin, TemporalJoin
from operators.patterns import Absence, Pattern, Step
from operators.records.batches import END_OF_INPUT, Batch, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import Side
from operators.steps.joins import enrich, interval_join, temporal_join
from operators.steps.patterns import match
from operators.steps.watermarks import watermarks
from tests.operators.steps.crashing import Crashing
from tests.operators.streams import TYPES

GROUPS = 4
BOUND = 20
L = Side("l", ("key",), {"key": "key", "lv": "value", "lt": "event_time"}, TYPES)
R = Side("r", ("key",), {"rv": "value", "rt": "event_time"}, TYPES)


def records(topic: str, size: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(len(topic) + ord(topic[0]))
    times = np.arange(size) + rng.integers(0, BOUND + 9, size)
    return pl.DataFrame(
        {
            "source_topic": [topic] * size,
            "source_partition": pl.Series(np.zeros(size), dtype=pl.Int32),
            "source_offset": np.arange(size),
            "event_time": pl.Series(times).cast(TIME),
            "key": pl.Series(rng.integers(0, 9, size)).cast(pl.String),
            "value": rng.integers(0, 4, size),
        }
    )


def batches(frame: pl.DataFrame, parts: int = 30) -> list[Batch]:
    """Batches, the last one ending the input."""
    topic, size, items = frame["source_topic"][0], frame.height // parts, []
    for number in range(parts):
        part = frame.slice(number * size, size)
        progress = Progress(topic, 0, 1, int(part["source_offset"][-1]))
        items.append(Batch(progress if number < parts - 1 else progress.at(END_OF_INPUT), part))
    return items


def marked(frame: pl.DataFrame) -> pl.DataFrame:
    largest = pl.col("event_time").cum_max().shift(1)
    return frame.with_columns(watermark=largest - pl.duration(microseconds=BOUND))


def late(frame: pl.DataFrame) -> pl.DataFrame:
    is_late = pl.col("event_time") < pl.col("watermark")
    return marked(frame).filter(is_late.fill_null(False))


def in_time(frame: pl.DataFrame) -> pl.DataFrame:
    places = ["source_topic", "source_offset"]
    return frame.join(late(frame), on=places, how="anti", maintain_order="left")


def run(
    folder: Path, topics: list[str], stops: str, workers: int, step: Callable[..., Any]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run a flow to its end, resuming as often as it stops; return the rows and the late.

    Each row comes once; after a crash there would be those of the replay as well.
    """
    rows: list[pl.DataFrame] = []
    too_late: list[pl.DataFrame] = []
    sources = [
        Crashing(
            batches(records(topic)),
            crashes=(4 + n, 9, 17, 28) if stops == "crashes" else (),
            stops=(5, 16, 27) if stops == "ends" else (),
        )
        for n, topic in enumerate(topics)
    ]
    runs = {"never": 1, "ends": 4, "crashes": 1 + 4 * len(topics)}[stops]
    for _ in range(runs):
        recovery.prepare(folder)
        flow = Dataflow("test")
        streams = [
            watermarks(f"marks_{topic}", op.input(topic, flow, source), BOUND, 60.0)
            for topic, source in zip(topics, sources, strict=True)
        ]
        out = step(streams)
        op.output("rows", out.rows, TestingSink(rows))
        op.output("late", out.late, TestingSink(too_late))
        cluster_main(
            flow, [], 0, worker_count_per_proc=workers, epoch_interval=timedelta(0),
            recovery_config=RecoveryConfig(folder),
        )  # fmt: skip
    assert not any(source.crashes | source.stops for source in sources)
    found = pl.concat(rows), pl.concat(too_late)
    return found if stops != "crashes" else (found[0].unique(), found[1].unique())


def same(actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    actual, expected = actual.select(expected.columns).unique(), expected.unique()
    assert expected.height > 20
    assert actual.sort(actual.columns).equals(expected.sort(expected.columns))


shapes = pytest.mark.parametrize(
    ("stops", "workers"), [("never", 1), ("ends", 1), ("ends", 2), ("crashes", 1)]
)


@shapes
def test_an_interval_join_gives_the_pairs_and_the_rows_alone(tmp_path, stops, workers):
    join = IntervalJoin(L, R, -5, 10, "left")
    rows, too_late = run(
        tmp_path, ["l", "r"], stops, workers,
        lambda streams: interval_join("join", *streams, join, {"l": 1, "r": 1}, GROUPS),
    )  # fmt: skip
    left, right = in_time(records("l")), in_time(records("r"))
    pairs = left.join(right, on="key", suffix="_r").filter(
        (pl.col("event_time_r") - pl.col("event_time"))
        .dt.total_microseconds()
        .is_between(-5, 10)
    )
    alone = left.join(pairs, on="source_offset", how="anti")
    expected = pl.concat([pairs, alone], how="diagonal").select(
        "key", lv="value", lt="event_time", rv="value_r", rt="event_time_r"
    )
    same(rows, expected)
    missed = pl.concat([late(records("l")), late(records("r"))]).with_columns(
        lateness_us=(pl.col("watermark") - pl.col("event_time")).dt.total_microseconds()
    )
    places = ["source_topic", "source_partition", "source_offset", "event_time", "watermark"]
    assert missed.height > 5
    assert too_late.sort(places).equals(missed.select(*places, "lateness_us").sort(places))


def test_the_metrics_show_the_state_of_each_key_group(tmp_path):
    join = IntervalJoin(L, R, -5, 10, "left")
    metrics.STATE_ROWS.clear()
    metrics.STATE_BYTES.clear()
    run(
        tmp_path, ["l", "r"], "ends", 1,
        lambda streams: interval_join("shown", *streams, join, {"l": 1, "r": 1}, GROUPS),
    )  # fmt: skip
    for gauge in (metrics.STATE_ROWS, metrics.STATE_BYTES):
        (family,) = gauge.collect()
        shown = {
            s.labels["key"]: s.value for s in family.samples if s.labels["step"] == "shown"
        }
        assert sorted(shown) == [str(group) for group in range(GROUPS)]
    # All is settled at the end, and what is left is the frames' headers.
    assert max(shown.values()) < 5_000


def as_of(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    versions = right.sort("event_time", "source_offset").with_columns(rt="event_time")
    found = left.sort("event_time").join_asof(versions, on="event_time", by="key", suffix="_r")
    return found.select("key", lv="value", lt="event_time", rv="value_r", rt="rt")


@shapes
def test_a_temporal_join_gives_each_row_its_version(tmp_path, stops, workers):
    join = TemporalJoin(L, R)
    rows, _ = run(
        tmp_path, ["l", "r"], stops, workers,
        lambda streams: temporal_join("join", *streams, join, {"l": 1, "r": 1}, GROUPS),
    )  # fmt: skip
    same(rows, as_of(in_time(records("l")), in_time(records("r"))))


@shapes
def test_a_table_enriches_each_row_with_its_version(tmp_path, stops, workers):
    join, first = TemporalJoin(L, R), [records("r")]

    def step(streams: list[Any]) -> Any:
        # A resumed flow goes on with the table that it began with.
        versions = first.pop() if first else records("r").head(0)
        return enrich("join", *streams, join, versions, {"l": 1}, GROUPS)

    rows, _ = run(tmp_path, ["l"], stops, workers, step)
    same(rows, as_of(in_time(records("l")), records("r")))


@shapes
def test_a_sequence_matches_what_nothing_breaks_in_time(tmp_path, stops, workers):
    pattern = Pattern("test", L, (Step("a", "value = 1"),), 5, Absence("value = 1", 40))
    rows, too_late = run(
        tmp_path, ["l"], stops, workers,
        lambda streams: match("match", *streams, pattern, {"l": 1}, GROUPS),
    )  # fmt: skip
    ones = (
        in_time(records("l")).filter(pl.col("value") == 1).sort("event_time", "source_offset")
    )
    gap = (
        pl.col("event_time").shift(-1).over("key") - pl.col("event_time")
    ).dt.total_microseconds()
    expected = ones.filter(gap.fill_null(40) >= 40).select(
        "key", a_lv="value", started_at="event_time"
    )
    same(rows, expected)
    # What meets no condition is no loss.
    assert too_late.height == late(records("l")).filter(pl.col("value") == 1).height


def test_a_condition_that_fails_is_a_reject_and_the_others_count(tmp_path):
    types = TYPES | {"text": pl.String()}
    side = Side("l", ("key",), {"lv": "value"}, types)
    pattern = Pattern(
        "casts", side, (Step("a", "CAST(text AS INT) = 1"), Step("b", "value >= 0")), 1000
    )
    text = pl.when(pl.col("source_offset") == 77).then(pl.lit("x")).otherwise(pl.lit("1"))
    frame = records("l").with_columns(text=text)
    found: list[pl.DataFrame] = []
    rejects: list[pl.DataFrame] = []
    flow = Dataflow("test")
    up = watermarks("marks", op.input("l", flow, TestingSource(batches(frame))), BOUND, 60.0)
    out = match("match", up, pattern, {"l": 1}, GROUPS)
    op.output("rows", out.rows, TestingSink(found))
    op.output("rejects", out.rejects, TestingSink(rejects))
    op.output("late", out.late, TestingSink([]))
    cluster_main(flow, [], 0)
    (reject,) = pl.concat(rejects).rows(named=True)
    assert (reject["source_offset"], reject["code"]) == (77, "pattern_failed:casts")
    assert pl.concat(found).height > 400


def test_one_topic_cannot_be_both_sides():
    flow = Dataflow("test")
    up = watermarks("marks", op.input("l", flow, TestingSource([])), BOUND, 60.0)
    other = Side("l", ("key",), {"rv": "value"}, TYPES)
    with pytest.raises(ValueError, match="both sides"):
        interval_join("join", up, up, IntervalJoin(L, other, 0, 1), {"l": 1}, GROUPS)

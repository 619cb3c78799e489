"""What tables account for when their transactions do not say so any more."""

import json
import time
from datetime import timedelta

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta import commits
from operators.connectors.delta.accounts import FenceLostError, accounted, recorded
from operators.connectors.delta.errors import FencedError
from operators.connectors.delta.table import Fence, table_uri
from tests.field.tables import checkpoint_of_spark, clean_up_log, limit_transactions
from tests.operators.connectors.delta_flow import (
    PANES,
    PLACES,
    ROWS,
    Flow,
    fence,
    held,
    held_panes,
    sink,
)  # fmt: skip

LONG = timedelta(days=8)


@pytest.fixture
def root(tmp_path):
    flow = Flow(tmp_path)
    for last in (1, 3):
        flow.rows(0, last - 1, last)
        flow.panes(last * 10)
        flow.progress(0, last, last * 10 + 5)
        flow.progress(1, -1, last * 10 + 5)
        flow.snapshot()
    return tmp_path


def forgotten(root, *names: str, cleaned: bool = False) -> None:
    for name in names:
        limit_transactions(root, name)
        assert checkpoint_of_spark(root, name, LONG) == 0
        if cleaned:
            clean_up_log(root, name)


def handle(root, table) -> DeltaTable:
    return DeltaTable(table_uri(str(root), table.name))


def replayed(root) -> None:
    """Everything again, and more."""
    again = Flow(root)
    again.rows(0, *range(6))
    again.panes(10, 30, 50)
    again.progress(0, 5, 55)
    again.progress(1, -1, 55)
    again.snapshot()
    assert held(root) == [(0, offset) for offset in range(6)]
    assert held_panes(root) == [10, 30, 50]


def test_transactions_say_when_they_were_made_and_spark_keeps_those_of_today(root):
    limit_transactions(root, ROWS.name)
    assert checkpoint_of_spark(root, ROWS.name) == 3


def test_the_newest_commit_tells_what_dropped_transactions_did(root):
    before = fence(root), fence(root, PANES)
    forgotten(root, ROWS.name, PANES.name)
    assert fence(root).offsets == {}
    known = Fence("f", PLACES)
    assert tuple(recorded(handle(root, t), known) for t in (ROWS, PANES)) == before
    assert sink(root).frontiers() == list(before)
    Flow(root)
    assert (fence(root), fence(root, PANES)) == before, "they are written again"
    replayed(root)


def test_rows_by_offset_tell_themselves_and_windows_are_refused(root):
    forgotten(root, ROWS.name, PANES.name, cleaned=True)
    known = Fence("f", PLACES)
    found, unrecorded = accounted(handle(root, ROWS), ROWS, known)
    assert (found.offsets, unrecorded) == ({("t", 0): 3}, True)
    told = r"rows of gold/panes .*setTransactionRetentionDuration.*Delete these tables"
    with pytest.raises(FenceLostError, match=told):
        sink(root).frontiers()
    with pytest.raises(FenceLostError, match=told):
        Flow(root)
    for file in sorted((root / PANES.name).rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    replayed(root)


def test_tables_of_somebody_elses_rows_are_not_new_ones(tmp_path):
    frame = pl.DataFrame(schema=PANES.schema).clear(1)
    write_deltalake(table_uri(str(tmp_path), PANES.name), frame, mode="append")
    write_deltalake(table_uri(str(tmp_path), ROWS.name), pl.DataFrame({"n": [1]}))
    with pytest.raises(FenceLostError, match=r"rows of silver/rows and gold/panes account for"):
        sink(tmp_path).frontiers()


def test_tables_that_are_empty_are_new(root, tmp_path_factory):
    made = sink(tmp_path_factory.mktemp("t"))
    made.build_part("s", PANES.name, None)
    assert [each.offsets for each in made.frontiers()] == [{}]


def test_a_commit_tells_its_flow_run_and_offsets_to_all_engines(root):
    newest, *_ = handle(root, ROWS).history(1)
    told = json.loads(newest["userMetadata"])
    assert told["run"].startswith("20")
    del told["run"]
    assert abs(told.pop("began") / 1000 - time.time()) < 60
    assert told["fence"].pop("f/topics")
    assert told == {
        "millstream": "1.2.3",
        "flow": "f",
        "epoch": 2,
        "rows": 2,
        "fence": {"f/t/0": 3, "f/watermark": 35},
        "before": {"f/t/0": 1, "f/watermark": 15},
    }


def test_another_engines_rows_do_not_hide_a_restore(root):
    """Such as Spark's, whose commits are no flow's."""
    table = handle(root, ROWS)
    table.restore(1)
    log = root / ROWS.name / "_delta_log"
    theirs = {"timestamp": 1, "operation": "WRITE", "engineInfo": "Apache-Spark/4.0.0"}
    (log / f"{4:020}.json").write_text(json.dumps({"commitInfo": theirs}))
    assert commits.restored(handle(root, ROWS)) == commits.Restored(1)
    with pytest.raises(FencedError, match="restored to its version 1"):
        Flow(root)


def test_a_restore_to_the_version_that_made_the_table_is_refused(root):
    """It has no transactions, and no commit of its own tells a fence; newer ones do."""
    handle(root, ROWS).restore(0)
    with pytest.raises(FencedError, match="restored to its version 0"):
        sink(root).frontiers()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"version": 1, "timestamp": None}, "version 1"),
        (
            {"version": None, "timestamp": "2026-11-26 15:48:52.0"},
            "rows of 2026-11-26 15:48:52.0",
        ),
    ],
    ids=["version", "time"],
)
def test_a_restore_by_spark_is_refused(root, parameters, told):
    log = root / ROWS.name / "_delta_log"
    theirs = {"timestamp": 1, "operation": "RESTORE", "operationParameters": parameters}
    (log / f"{3:020}.json").write_text(json.dumps({"commitInfo": theirs}))
    with pytest.raises(FencedError, match=f"silver/rows was restored to its {told}"):
        sink(root).frontiers()

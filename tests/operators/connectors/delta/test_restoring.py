"""A restored table accounts for what it did, and its flow writes again what it lost."""

import os
import time
from datetime import timedelta

import pytest
from deltalake import DeltaTable

from operators.connectors.delta import commits, maintenance
from operators.connectors.delta.errors import FencedError
from operators.connectors.delta.properties import kept_for
from operators.connectors.delta.restoring import RestoreError, restore
from operators.connectors.delta.table import table_uri
from operators.records.tables import KEPT
from tests.field.tables import checkpoint_of_spark, limit_transactions
from tests.operators.connectors.delta_flow import (
    PANES,
    ROWS,
    Flow,
    fence,
    held,
    held_panes,
    sink,
)


@pytest.fixture
def root(tmp_path):
    flow = Flow(tmp_path)
    for last in (1, 3, 5):
        epoch(flow, last)
    return tmp_path


def epoch(flow: Flow, last: int) -> dict:
    flow.rows(0, last - 1, last)
    flow.panes(last * 10)
    flow.progress(0, last, last * 10 + 5)
    flow.progress(1, -1, last * 10 + 5)
    return flow.snapshot()


def handle(root, table) -> DeltaTable:
    return DeltaTable(table_uri(str(root), table.name))


def version_of(root, table, number: int) -> int:
    """Return the version of an epoch's commit."""
    found = commits.newest_commits(handle(root, table), 99)
    return next(each.version for each in found if each.epoch == number and each.rows)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_flow_without_a_store_of_its_own_writes_again_what_was_lost(root, compacted):
    to = [(table, version_of(root, table, 1)) for table in (ROWS, PANES)]
    if compacted:
        maintenance.compact(str(root), ROWS, 2**20)
    for table, version in to:
        assert restore(str(root), table, "f", version, "1") == version
    assert held(root) == [(0, 0), (0, 1)]
    assert held_panes(root) == [10]
    assert fence(root).offsets == {("t", 0): 1}
    (newest, before), *_ = commits.fences(handle(root, ROWS), "f")
    assert (newest["f/t/0"], before) == (1, {})
    again = Flow(root)
    for last in (1, 3, 5, 7):
        epoch(again, last)
    assert held(root) == [(0, n) for n in range(8)]
    assert held_panes(root) == [10, 30, 50, 70]
    assert [told["f/t/0"] for told, _ in commits.fences(handle(root, ROWS), "f")] == [
        7,
        5,
        3,
        1,
    ]


def test_what_is_restored_twice_is_what_it_was_restored_to(root):
    first, second = (version_of(root, ROWS, number) for number in (1, 2))
    restore(str(root), ROWS, "f", second, "1")
    restored = handle(root, ROWS).version()
    restore(str(root), ROWS, "f", first, "1")
    assert fence(root).offsets == {("t", 0): 1}
    # Forth again, to what it was as of the first time.
    restore(str(root), ROWS, "f", restored, "1")
    assert fence(root).offsets == {("t", 0): 3}
    assert held(root) == [(0, n) for n in range(4)]
    assert next(commits.fences(handle(root, ROWS), "f"))[0]["f/t/0"] == 3


def test_it_holds_where_transactions_are_dropped(root):
    restore(str(root), ROWS, "f", version_of(root, ROWS, 2), "1")
    limit_transactions(root, ROWS.name)
    checkpoint_of_spark(root, ROWS.name, timedelta(days=8))
    sink(root).frontiers()
    again = Flow(root)
    for last in (1, 3, 5):
        epoch(again, last)
    assert held(root) == [(0, n) for n in range(6)]


def test_a_store_of_before_is_ahead_of_it(root):
    state = epoch(Flow(root), 7)
    restore(str(root), ROWS, "f", version_of(root, ROWS, 2), "1")
    with pytest.raises(FencedError, match="is behind the recovery store"):
        Flow(root, state)


def test_the_flow_that_runs_meanwhile_stops(root):
    flow = Flow(root)
    epoch(flow, 7)
    restore(str(root), ROWS, "f", version_of(root, ROWS, 2), "1")
    with pytest.raises(FencedError, match="another copy of it writes"):
        epoch(flow, 9)


def test_a_version_that_lacks_what_came_later_is_refused(root):
    flow = Flow(root)
    flow.rows(1, 0)
    flow.progress(1, 0, 100)
    flow.snapshot()
    with pytest.raises(RestoreError, match=r"version \d+ of table .* is from before f/t/1"):
        restore(str(root), ROWS, "f", version_of(root, ROWS, 2), "1")
    with pytest.raises(RestoreError, match="choose a version with rows of the flow"):
        restore(str(root), ROWS, "g", version_of(root, ROWS, 2), "1")


def aged(log, last: int) -> None:
    """Make commits and checkpoints up to a version two days old."""
    then = time.time() - timedelta(days=2).total_seconds()
    for each in log.iterdir():
        if each.name[:20].isdigit() and int(each.name[:20]) <= last:
            os.utime(each, (then, then))


def test_a_log_is_kept_for_as_long_as_is_declared(root):
    """Also that of a table which an earlier release made, while its flow writes."""
    log = root / ROWS.name / "_delta_log"
    of_before = dict.fromkeys(kept_for(KEPT), "interval 30 days")
    handle(root, ROWS).alter.set_table_properties(of_before)
    flow = Flow(root)
    assert maintenance.checkpoint(str(root), ROWS, timedelta(days=3)) == 5
    aged(log, 5)
    epoch(flow, 7)
    assert maintenance.checkpoint(str(root), ROWS, timedelta(days=3)) == 6
    assert len(list(log.glob("*.json"))) == 7
    assert maintenance.checkpoint(str(root), ROWS) == 7
    assert sorted(int(each.stem) for each in log.glob("*.json")) == [6, 7]
    told = handle(root, ROWS).metadata().configuration
    assert told["delta.logRetentionDuration"] == "interval 24 hours"
    # The flow that was at work goes on, as does a new one.
    epoch(flow, 9)
    assert maintenance.checkpoint(str(root), ROWS) == 8
    epoch(Flow(root), 11)
    assert held(root) == [(0, offset) for offset in range(12)]
    assert restore(str(root), ROWS, "f", 8, "1") == 8
    assert held(root) == [(0, offset) for offset in range(10)]

"""A look at a table, by its log and statistics alone."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.connectors.delta import maintenance
from operators.connectors.delta.look import look
from operators.connectors.delta.table import Fence
from tests.operators.connectors.delta_flow import PANES, ROWS, Flow


@pytest.fixture
def root(tmp_path):
    flow = Flow(tmp_path)
    for last in (1, 3, 5):
        flow.rows(0, last - 1, last)
        flow.panes(last * 10)
        flow.progress(0, last, last * 10 + 5)
        flow.progress(1, -1, last * 10 + 5)
        flow.snapshot()
    return str(tmp_path)


def test_no_table_is_none(tmp_path):
    assert look(str(tmp_path), ROWS, "f", []) is None


def test_it_has_what_the_flow_told_without_knowing_its_partitions(root):
    found = look(root, ROWS, "f", [])
    assert found is not None
    assert (found.rows, found.files) == (6, 6)
    assert found.frontier.offsets == {("t", 0): 5}
    assert found.frontier.watermark == 55
    assert [(each.epoch, each.rows) for each in found.commits if each.rows] == [
        (3, 2), (2, 2), (1, 2),
    ]  # fmt: skip
    assert found.written is not None
    assert datetime.now(UTC) - found.written < timedelta(minutes=5)
    panes = look(root, PANES, "f", [])
    assert panes is not None
    assert panes.newest == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=50)


def test_it_has_that_also_behind_much_maintenance(root):
    table = DeltaTable(f"{root}/{ROWS.name}")
    for number in range(20):
        table.alter.set_table_properties({"delta.checkpointInterval": f"{50 + number}"})
    found = look(root, ROWS, "f", [])
    assert found is not None
    assert not any(each.rows for each in found.commits)
    assert found.frontier.offsets == {("t", 0): 5}
    assert found.written is not None


def test_small_files_are_those_that_could_be_put_together(root):
    """Files of another folder are not beside it, and one alone stays as it is."""
    found = look(root, ROWS, "f", [])
    assert found is not None
    assert found.small(2**20) == 6
    assert found.small(1) == 0
    maintenance.compact(root, ROWS, 2**20)
    found = look(root, ROWS, "f", [])
    assert found is not None
    assert (found.files, found.small(2**20)) == (2, 0)


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_since_a_time_are_counted_also_in_files_that_have_older_ones(root, compacted):
    times = pl.read_delta(f"{root}/{ROWS.name}")["written_at"].sort().unique()
    assert len(times) == 3
    if compacted:
        maintenance.compact(root, ROWS, 2**20)
    found = look(root, ROWS, "f", [])
    assert found is not None
    # Statistics have milliseconds.
    since = times[1].replace(microsecond=times[1].microsecond // 1000 * 1000)
    assert found.rows_since(since) == 4
    assert found.rows_since(datetime(2000, 1, 1, tzinfo=UTC)) == 6
    assert found.rows_since(datetime(2100, 1, 1, tzinfo=UTC)) == 0


def test_a_fence_is_of_the_partitions_that_its_ids_name():
    ids = [
        "f/a.b/0",
        "f/a.b/12",
        "f/a.b/0/floor",
        "f/a.b/id",
        "f/watermark",
        "g/a/3",
        "f/topics",
    ]
    assert Fence.told("f", ids).partitions == (("a.b", 0), ("a.b", 12))

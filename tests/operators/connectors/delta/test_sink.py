from datetime import UTC, datetime

import polars as pl
import pytest
from bytewax.testing import TestingSource
from hypothesis import given
from hypothesis import strategies as st

from operators.connectors.delta import pending
from operators.connectors.delta import writer as delta_writer
from operators.connectors.delta.table import FencedError, table_uri
from operators.connectors.watched import WatchedSource
from operators.event_time.frontier import Frontier
from operators.records.batches import END_OF_INPUT
from tests.examples import examples
from tests.operators.connectors.delta_flow import (
    PANES,
    PLACES,
    ROWS,
    Flow,
    fence,
    held,
    held_panes,
    sink,
    versions,
)  # fmt: skip
from tests.running import wait_until


def test_an_epoch_is_one_commit_of_rows_and_frontier(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.rows(1, 0)
    flow.progress(0, 1, 100)
    flow.rows(0, 2)
    flow.progress(0, 2, 110)
    flow.progress(1, 0, 90)
    assert held(tmp_path) == [], "nothing is there before the epoch's end"
    state = flow.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert versions(tmp_path) == 1
    assert fence(tmp_path) == Frontier({("t", 0): 2, ("t", 1): 0}, 90)
    assert fence(tmp_path, PANES) == Frontier(), "a table without rows has no commit"
    assert state[ROWS.name]["offsets"] == [("t", 0, 2), ("t", 1, 0)]
    written = pl.read_delta(table_uri(str(tmp_path), ROWS.name))
    assert dict(written.schema) == ROWS.schema
    assert written["flow_version"].unique().to_list() == ["1.2.3"]
    (at,) = written["written_at"].unique().to_list()
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60


@pytest.fixture
def encoded(monkeypatch):
    """The offsets of rows that have been encoded, each time some are."""
    found = []
    original = pending.Encoder.add

    def add(self, rows, *least):
        original(self, rows, *least)
        found.append(rows["source_offset"].to_list())

    monkeypatch.setattr(pending.Encoder, "add", add)
    return found


def test_rows_are_encoded_while_they_come(tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(pending, "GROUP_ROWS", 4)
    flow = Flow(tmp_path)
    for first in (0, 3, 6):
        flow.rows(0, first, first + 1, first + 2)
    wait_until(lambda: encoded == [[*range(6)]])
    assert held(tmp_path) == [], "nothing is there before the epoch's end"
    flow.progress(0, 8)
    flow.snapshot()
    assert held(tmp_path) == [(0, at) for at in range(9)]
    assert encoded[1:] == [[6, 7, 8]]
    (at,) = pl.read_delta(table_uri(str(tmp_path), ROWS.name))["written_at"].unique()
    flow.rows(0, 9)
    flow.progress(0, 9)
    flow.snapshot()
    again = pl.read_delta(table_uri(str(tmp_path), ROWS.name))["written_at"].unique()
    assert len(again) == 2
    assert at == again.min()


def test_what_waits_is_encoded_while_states_are_written(tmp_path, encoded):
    """As an epoch's end begins, sources say so; tables are asked for their rows behind all else."""
    source = WatchedSource(TestingSource([]))
    (name,) = source.list_parts()
    part = source.build_part("read", name, None)
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    part.snapshot()
    assert encoded == []
    flow.rows(0, 2)
    wait_until(lambda: encoded == [[0, 1, 2]])
    flow.rows(0, 3)
    flow.progress(0, 3)
    flow.snapshot()
    assert encoded == [[0, 1, 2], [3]]
    assert held(tmp_path) == [(0, at) for at in range(4)]


def test_an_epoch_without_rows_commits_nothing(tmp_path):
    flow = Flow(tmp_path)
    flow.progress(0, 5, 100)
    flow.snapshot()
    flow.snapshot()
    assert versions(tmp_path) == 0


def test_replayed_rows_are_dropped_whatever_their_batches(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1, 2)
    flow.rows(1, 0, 1)
    flow.progress(0, 2)
    flow.progress(1, 1)
    flow.snapshot()
    again = Flow(tmp_path)
    again.rows(0, 0)
    again.rows(1, 0, 1, 2)
    again.rows(0, 1, 2, 3)
    again.progress(0, 3)
    again.progress(1, 2)
    again.snapshot()
    assert held(tmp_path) == [(0, i) for i in range(4)] + [(1, i) for i in range(3)]


def test_closed_windows_are_fenced_by_the_watermark(tmp_path):
    flow = Flow(tmp_path)
    flow.panes(60, 120)
    flow.progress(0, 5, 130)
    flow.progress(1, 5, 125)
    flow.snapshot()
    assert fence(tmp_path, PANES).watermark == 125
    again = Flow(tmp_path)
    again.panes(60)
    again.panes(120, 180)
    again.progress(0, 9, 300)
    again.progress(1, 9, 300)
    again.snapshot()
    assert held_panes(tmp_path) == [60, 120, 180]


def test_the_end_of_a_bounded_input_fences_all_windows(tmp_path):
    for _ in range(2):
        flow = Flow(tmp_path)
        flow.panes(60, 2**50)
        flow.progress(0, 5, END_OF_INPUT)
        flow.progress(1, 5, END_OF_INPUT)
        flow.snapshot()
    assert held_panes(tmp_path) == [60, 2**50]


def test_a_replay_that_is_cut_short_moves_no_frontier_back(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, *range(10))
    flow.progress(0, 9, 500)
    flow.progress(1, -1, 400)
    flow.snapshot()
    # The replay gets as far as 3 in one partition, and further than ever in the other.
    cut = Flow(tmp_path)
    cut.rows(0, *range(4))
    cut.rows(1, 0, 1)
    cut.progress(0, 3, 200)
    cut.progress(1, 1, 150)
    state = cut.snapshot()
    assert fence(tmp_path) == Frontier({("t", 0): 9, ("t", 1): 1}, 400)
    last = Flow(tmp_path, state)
    last.rows(0, *range(4, 12))
    last.progress(0, 11, 600)
    last.snapshot()
    assert held(tmp_path) == [(0, i) for i in range(12)] + [(1, 0), (1, 1)]


@examples(1 / 5)
@given(st.data())
def test_any_cuts_and_crashes_leave_every_row_once(tmp_path_factory, data):
    root, state = tmp_path_factory.mktemp("t"), None
    source, durable = [0, 0], [0, 0]
    flow = Flow(root)
    ends = [data.draw(st.integers(0, 12)) for _ in PLACES]
    while durable != ends:
        for partition in (0, 1):
            upto = min(
                ends[partition], source[partition] + data.draw(st.sampled_from([5, 2, 0]))
            )
            flow.rows(partition, *range(source[partition], upto))
            source[partition] = upto
            flow.progress(partition, upto - 1, upto * 10)
        if data.draw(st.booleans()) or source == ends:
            taken = flow.snapshot()
            if data.draw(st.sampled_from([False, False, True])):
                # The commits landed, but the recovery store's did not.
                flow, source = Flow(root, state), list(durable)
            else:
                state, durable = taken, list(source)
    assert held(root) == [(p, i) for p, end in enumerate(ends) for i in range(end)]


def test_a_table_behind_its_recovery_store_is_refused(tmp_path):
    flow = Flow(tmp_path / "a")
    flow.rows(0, *range(8))
    flow.progress(0, 7)
    state = flow.snapshot()
    with pytest.raises(
        FencedError, match=r"t/0: 7 committed, table at None.*deleted or restored"
    ):
        Flow(tmp_path / "b", state)


def test_handles_are_renewed_and_the_fence_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(delta_writer, "CHECKPOINT_EVERY", 3)
    flow = Flow(tmp_path)
    for offset in range(7):
        flow.rows(0, offset)
        flow.progress(0, offset, offset)
        flow.snapshot()
    log = tmp_path / ROWS.name / "_delta_log"
    assert {int(each.name[:20]) for each in log.glob("*.checkpoint.parquet")} == {2, 5}
    # A checkpoint has all that was before it.
    for commit in sorted(log.glob("*.json"))[:5]:
        commit.unlink()
    assert held(tmp_path) == [(0, i) for i in range(7)]
    assert fence(tmp_path).offsets == {("t", 0): 6}


def test_another_copy_that_commits_before_a_handle_is_renewed_is_noticed(tmp_path, monkeypatch):
    one, opened = Flow(tmp_path), delta_writer.open_table

    def other_first(*arguments, **options):
        monkeypatch.setattr(delta_writer, "open_table", opened)
        other = Flow(tmp_path)
        other.rows(0, 1)
        other.progress(0, 1)
        other.snapshot()
        return opened(*arguments, **options)

    monkeypatch.setattr(delta_writer, "open_table", other_first)
    one.rows(0, 0)
    one.progress(0, 0)
    with pytest.raises(FencedError, match=r"silver/rows moved from .* another copy"):
        one.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_log_that_cannot_be_summed_up_stops_nobody(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(delta_writer, "CHECKPOINT_EVERY", 2)
    log = tmp_path / ROWS.name / "_delta_log"
    flow = Flow(tmp_path)
    # A folder in the place of the file that is due.
    (log / f"{1:020}.checkpoint.parquet" / "x").mkdir(parents=True)
    for offset in range(2):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    assert "silver/rows: its log is not summed up" in caplog.text
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_each_table_has_its_writer_in_a_fixed_place(tmp_path):
    made = sink(tmp_path)
    assert made.list_parts() == ["gold/panes", "silver/rows"]
    assert [made.part_fn(name) for name in made.list_parts()] == [0, 1]

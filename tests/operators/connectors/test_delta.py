import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.connectors import delta, durability
from operators.connectors.delta import (
    DeltaSink,
    Fence,
    FencedError,
    StorageUnavailableError,
    open_table,
    table_uri,
)  # fmt: skip
from operators.tables import COORDINATES, TIME, Frontier, Table

ROWS = Table(
    "silver/rows", {**COORDINATES, "n": pl.Int64(), "day": pl.Int64()}, partition_by=("day",)
)
PANES = Table(
    "gold/panes", {"window_end": TIME, "n": pl.Int64()}, fenced="by window", lateness=5
)
PLACES = [("t", 0), ("t", 1)]


def sink(root) -> DeltaSink:
    return DeltaSink(
        str(root), [ROWS, PANES], flow="f", flow_version="1.2.3", partitions=PLACES
    )


class Flow:
    """A run of a flow: the sink's two partitions, each told of everyone's progress."""

    def __init__(self, root, state=None) -> None:
        self.root = root
        made = sink(root)
        state = state or {}
        self.parts = {n: made.build_part("s", n, state.get(n)) for n in made.list_parts()}

    def rows(self, partition: int, *offsets: int) -> None:
        frame = pl.DataFrame(
            [("t", partition, offset, offset * 10, offset % 2) for offset in offsets],
            schema=ROWS.columns, orient="row",
        )  # fmt: skip
        self.parts[ROWS.name].write_batch([frame])

    def panes(self, *ends: int) -> None:
        frame = pl.DataFrame(
            {"window_end": ends, "n": ends}, schema={"window_end": pl.Int64, "n": pl.Int64}
        )
        self.parts[PANES.name].write_batch([frame.cast({"window_end": TIME})])

    def progress(self, partition: int, offset: int, watermark: int = NO_WATERMARK) -> None:
        for part in self.parts.values():
            part.write_batch([Progress("t", partition, 2, offset, watermark)])

    def snapshot(self) -> dict:
        return {name: part.snapshot() for name, part in self.parts.items()}


def held(root) -> list[tuple[int, int]]:
    frame = pl.read_delta(table_uri(str(root), ROWS.name))
    return sorted(frame.select("source_partition", "source_offset").rows())


def held_panes(root) -> list[int]:
    return sorted(pl.read_delta(table_uri(str(root), PANES.name))["n"].to_list())


def fence(root, table=ROWS) -> Frontier:
    return Fence("f", PLACES).read(open_table(str(root), table))


def versions(root) -> int:
    return DeltaTable(table_uri(str(root), ROWS.name)).version()


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


@settings(max_examples=12)
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


# --- commits that fail ----------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch):
    """Make the next commits fail, "before" or "after" they land."""
    plan: list[str] = []

    def write(*args, **kwargs):
        how = plan.pop(0) if plan else "never"
        if how == "before":
            raise OSError("disk on fire")
        write_deltalake(*args, **kwargs)
        if how == "after":
            raise Exception("post-commit hook failed")  # as deltalake does

    monkeypatch.setattr(delta, "write_deltalake", write)
    monkeypatch.setattr(delta.time, "sleep", lambda _: None)
    return plan


@pytest.mark.parametrize(
    "plan", [["before"], ["after"], ["before"] * 5, ["before", "before", "after"]], ids=str
)
def test_a_commit_that_fails_is_retried_or_known_to_have_landed(tmp_path, failing, plan):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing += plan
    flow.snapshot()
    assert failing == []
    flow.rows(0, 2)
    flow.progress(0, 2)
    flow.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1), (0, 2)]
    assert versions(tmp_path) == 2


def test_storage_that_stays_away_is_a_clear_error_and_the_replay_loses_nothing(
    tmp_path, failing
):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing += ["before"] * 6
    with pytest.raises(StorageUnavailableError, match="silver/rows: disk on fire"):
        flow.snapshot()
    again = Flow(tmp_path)
    again.rows(0, 0, 1)
    again.progress(0, 1)
    again.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_commit_that_landed_before_the_process_died_is_not_made_again(
    tmp_path, failing, monkeypatch
):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing.append("after")
    # It dies before it can look.
    monkeypatch.setattr(
        delta.Fence, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        flow.snapshot()
    monkeypatch.undo()
    again = Flow(tmp_path)
    again.rows(0, 0, 1, 2)
    again.progress(0, 2)
    again.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1), (0, 2)]


def test_of_two_flows_on_one_table_the_second_stops(tmp_path):
    one, other = Flow(tmp_path), Flow(tmp_path)
    one.rows(0, 0, 1)
    one.progress(0, 1)
    other.rows(0, 0)
    other.progress(0, 0)
    one.snapshot()
    with pytest.raises(FencedError, match=r"silver/rows moved from .* another copy"):
        other.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_commit_of_someone_who_is_no_flow_is_none_of_our_business(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0)
    flow.progress(0, 0)
    flow.snapshot()
    DeltaTable(table_uri(str(tmp_path), ROWS.name)).alter.set_table_properties(
        {"delta.appendOnly": "true"}
    )
    flow.rows(0, 1)
    flow.progress(0, 1)
    try:
        flow.snapshot()
    except FencedError as error:  # pragma: no cover
        pytest.fail(str(error))
    assert held(tmp_path) == [(0, 0), (0, 1)]


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
    monkeypatch.setattr(delta, "_REOPEN_AFTER", 2)
    flow = Flow(tmp_path)
    for offset in range(7):
        flow.rows(0, offset)
        flow.progress(0, offset, offset)
        flow.snapshot()
    assert held(tmp_path) == [(0, i) for i in range(7)]
    assert fence(tmp_path).offsets == {("t", 0): 6}


def test_the_fence_outlives_checkpoints(tmp_path):
    flow = Flow(tmp_path)
    for offset in range(52):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    log = Path(table_uri(str(tmp_path), ROWS.name)) / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    assert fence(tmp_path).offsets == {("t", 0): 51}


# --- durability -----------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch):
    paths: list[str] = []

    def fsync(descriptor):
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(durability.os, "fsync", fsync)
    return paths


@pytest.mark.parametrize("name", ["tables", "a b", "ü 50% #1", "q?x=y"])
def test_what_a_commit_wrote_is_flushed_before_the_snapshot_returns(tmp_path, synced, name):
    flow = Flow(tmp_path / name)
    table = tmp_path / name / ROWS.name
    assert f"{table}/_delta_log/{0:020}.json" in synced, "also the table's own beginning"
    assert {str(table.parent), str(tmp_path / name), str(tmp_path)} <= set(synced)
    synced.clear()
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    flow.snapshot()
    files = {str(path) for path in table.rglob("*.parquet")}
    assert len(files) == 2
    assert set(synced) == files | {
        f"{table}/_delta_log/{1:020}.json", f"{table}/_delta_log", str(table),
        f"{table}/day=0", f"{table}/day=1",
    }  # fmt: skip
    last = max(i for i, path in enumerate(synced) if path in files)
    assert synced.index(str(table)) > last, "folders come last"


def test_checkpoints_are_flushed_too(tmp_path, synced):
    flow = Flow(tmp_path)
    for offset in range(50):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    log = f"{tmp_path}/{ROWS.name}/_delta_log"
    made = {str(path) for path in Path(log).glob("*checkpoint*")}
    assert made
    assert made <= set(synced)


def test_each_table_has_its_writer_in_a_fixed_place(tmp_path):
    made = sink(tmp_path)
    assert made.list_parts() == ["gold/panes", "silver/rows"]
    assert [made.part_fn(name) for name in made.list_parts()] == [0, 1]
    assert table_uri("s3://bucket/root/", "gold/x") == "s3://bucket/root/gold/x"

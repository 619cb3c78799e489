import os
from pathlib import Path

import pytest

from operators.connectors.delta import durability
from tests.operators.connectors.delta_flow import ROWS, Flow, held


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


def test_files_that_a_crash_or_another_engine_left_out_are_not_missed(tmp_path, synced):
    flow = Flow(tmp_path)
    for offset in range(49):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    log = tmp_path / ROWS.name / "_delta_log"
    (log / "_last_checkpoint").unlink()
    Flow(tmp_path)
    # The checkpoint stands for all commits before it.
    for commit in sorted(log.glob("*.json"))[:-1]:
        commit.unlink()
    again = Flow(tmp_path)
    again.rows(0, 48, 49)
    again.progress(0, 49)
    again.snapshot()
    assert held(tmp_path) == [(0, offset) for offset in range(50)]

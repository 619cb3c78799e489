"""Who owns a recovery store and a table: copies, restored tables, threads of one process."""

import subprocess
import sys
import threading

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable

from operators.connectors import recovery
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import Fence, FencedError, table_uri
from operators.records.batches import Progress
from operators.records.tables import COORDINATES, Table

ROWS = Table("silver/rows", {**COORDINATES, "n": pl.Int64()})
OTHER = Table("silver/other", {**COORDINATES, "n": pl.Int64()})
PLACES = [("t", 0)]


def sink(root) -> DeltaSink:
    return DeltaSink(str(root), [ROWS, OTHER], flow="f", flow_version="1", partitions=PLACES)


def frame(*offsets: int) -> pl.DataFrame:
    return pl.DataFrame([("t", 0, o, o) for o in offsets], schema=ROWS.columns, orient="row")


def epoch(part, *offsets: int):
    part.write_batch([frame(*offsets), Progress("t", 0, 1, offsets[-1])])
    return part.snapshot()


def test_a_recovery_store_has_one_owner(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "_LOCK_SECONDS", 0.2)
    program = (
        "import sys, pathlib; from operators.connectors import recovery;"
        "recovery.prepare(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(recovery.InUseError, match="another copy of this flow runs"):
            recovery.prepare(tmp_path)
        other.kill()
    recovery.prepare(tmp_path)
    recovery.prepare(tmp_path)  # the owner may ask again


def test_a_restored_table_is_refused_as_its_fence_did_not_go_back(tmp_path):
    part = sink(tmp_path).build_part("s", ROWS.name, None)
    epoch(part, 0, 1)
    version = DeltaTable(table_uri(str(tmp_path), ROWS.name)).version()
    epoch(part, 2, 3)
    table = DeltaTable(table_uri(str(tmp_path), ROWS.name))
    table.restore(version)
    table.optimize.compact()
    with pytest.raises(FencedError, match=f"restored to its version {version}"):
        sink(tmp_path).build_part("s", ROWS.name, None)


def test_a_table_restored_with_its_fence_goes_on_from_there(tmp_path):
    part = sink(tmp_path).build_part("s", ROWS.name, None)
    epoch(part, 0, 1)
    uri, fence = table_uri(str(tmp_path), ROWS.name), Fence("f", PLACES)
    then = DeltaTable(uri)
    epoch(part, 2, 3)
    DeltaTable(uri).restore(
        then.version(),
        commit_properties=CommitProperties(
            app_transactions=fence.transactions(fence.read(then))
        ),
    )
    again = sink(tmp_path).build_part("s", ROWS.name, None)
    epoch(again, 0, 1, 2, 3)
    assert sorted(pl.read_delta(uri)["n"].to_list()) == [0, 1, 2, 3]


def test_a_snapshot_commits_no_table_of_another_thread(tmp_path):
    # Bytewax's workers of one process are threads that share the sink; the other's epoch may
    # be half way.
    made = sink(tmp_path)
    mine = made.build_part("s", ROWS.name, None)
    others = []
    thread = threading.Thread(
        target=lambda: others.append(made.build_part("s", OTHER.name, None))
    )
    thread.start()
    thread.join()
    others[0].write_batch([frame(0)])
    epoch(mine, 0)
    assert pl.read_delta(table_uri(str(tmp_path), OTHER.name)).height == 0

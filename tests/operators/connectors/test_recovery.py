"""Against recovery stores that Bytewax itself has written."""

import pickle
import sqlite3
import subprocess
import sys
from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main

from operators.connectors import recovery

EVERY = timedelta(0)  # an epoch per item


def run(folder, items, *, workers=1, source=None):
    """Count items by key; returns what came out."""
    out: list = []
    flow = Dataflow("counting")
    stream = op.input("in", flow, source or TestingSource(items, batch_size=1))
    keyed = op.key_on("key", stream, str)
    counted = op.stateful_map("count", keyed, lambda n, _: ((n or 0) + 1, (n or 0) + 1))
    op.output("out", counted, TestingSink(out))
    config = RecoveryConfig(str(folder), backup_interval=timedelta(days=1))
    if workers == 1:
        run_main(flow, epoch_interval=EVERY, recovery_config=config)
    else:
        cluster_main(
            flow,
            [],
            0,
            epoch_interval=EVERY,
            recovery_config=config,
            worker_count_per_proc=workers,
        )
    return out


def ask(folder, sql, *values):
    with sqlite3.connect(folder / "part-0.sqlite3") as store:
        found = store.execute(sql, values).fetchall()
    store.close()
    return found


def snaps(folder):
    return ask(folder, "SELECT step_id, state_key, snap_epoch FROM snaps ORDER BY 1, 2, 3")


def test_a_store_is_made_where_there_is_none(tmp_path):
    folder = tmp_path / "deep" / "state"
    assert recovery.prepare(folder) == 0
    assert [path.name for path in folder.glob("*.sqlite3")] == ["part-0.sqlite3"]
    assert recovery.prepare(folder) == 0, "a store that no flow has used yet is left alone"
    assert run(folder, ["a", "a"]) == [("a", 1), ("a", 2)]


def test_nothing_is_purged_from_a_store_after_a_clean_end(tmp_path):
    recovery.prepare(tmp_path)
    items = ["a", "b", "a"]
    run(tmp_path, items)
    before = snaps(tmp_path)
    assert recovery.prepare(tmp_path) == 0
    assert snaps(tmp_path) == before
    items += ["a"]
    assert run(tmp_path, items) == [("a", 3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_resume_epoch_is_the_one_that_bytewax_comes_to(tmp_path, workers):
    recovery.prepare(tmp_path)
    # An abort of one of two threads would wait for the other for ever.
    end = TestingSource.ABORT if workers == 1 else TestingSource.EOF
    items = ["a", "b", end(), "a", TestingSource.EOF(), "c", end(), "b"]
    source = TestingSource(items, batch_size=1)
    resumes = []
    for _ in range(4):
        files = list(tmp_path.glob("part-*.sqlite3"))
        resumes.append(recovery._resume_epoch(files))
        recovery.prepare(tmp_path)
        run(tmp_path, None, workers=workers, source=source)
        used = ask(tmp_path, "SELECT resume_epoch FROM exs ORDER BY ex_num DESC LIMIT 1")[0][0]
        assert resumes[-1] in (used, None)
    assert resumes[0] is None
    assert resumes[1:] == sorted(resumes[1:])
    assert resumes[1] > 1


def test_what_a_crash_left_of_an_unfinished_epoch_is_purged(tmp_path):
    recovery.prepare(tmp_path)
    source = TestingSource(["a", "b", "a", TestingSource.ABORT(), "a"], batch_size=1)
    run(tmp_path, None, source=source)
    (resume,) = {recovery._resume_epoch([tmp_path / "part-0.sqlite3"])}
    whole = [row for row in snaps(tmp_path) if row[2] < resume]
    # As a crash between an epoch's snapshots and its end leaves it: a count of 10 is ahead of
    # any that was ever committed.
    (state,) = ask(
        tmp_path,
        "SELECT ser_change FROM snaps WHERE state_key = 'a' AND step_id LIKE '%count%' LIMIT 1",
    )[0]  # fmt: skip
    with sqlite3.connect(tmp_path / "part-0.sqlite3") as store:
        for key, epoch in (("a", resume), ("b", resume), ("b", resume + 7)):
            store.execute(
                "INSERT OR REPLACE INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "VALUES ('counting.count.stateful_batch', ?, ?, ?)",
                (key, epoch, state),
            )
    store.close()
    left = len(snaps(tmp_path)) - len(whole)
    assert left >= 3
    assert recovery.prepare(tmp_path) == left
    assert snaps(tmp_path) == whole
    assert recovery.prepare(tmp_path) == 0
    assert run(tmp_path, None, source=source)[-1] == ("a", 3)


def test_a_store_of_several_files_is_purged_in_all_of_them(tmp_path):
    from bytewax.recovery import init_db_dir

    init_db_dir(tmp_path, 3)
    run(tmp_path, ["a", "b", "c", "d"], workers=2)
    files = sorted(tmp_path.glob("part-*.sqlite3"))
    resume = recovery._resume_epoch(files)
    assert len(files) == 3
    for file in files:
        with sqlite3.connect(file) as store:
            store.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "VALUES ('x', 'y', ?, x'00')",
                (resume,),
            )
        store.close()
    assert recovery.prepare(tmp_path) == 3


def test_a_worker_that_reported_nothing_stands_where_its_execution_began(tmp_path):
    recovery.prepare(tmp_path)
    file = tmp_path / "part-0.sqlite3"

    def resume(*statements: str) -> int | None:
        with sqlite3.connect(file) as store:
            for statement in statements:
                store.execute(statement)
        store.close()
        return recovery._resume_epoch([file])

    run = "INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES "
    front = "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES "
    assert resume() is None
    assert resume(f"{run} (0, 2, 1)") == 1
    assert resume(f"{front} (0, 0, 9)") == 1
    assert resume(f"{front} (0, 1, 8)") == 8
    assert resume(f"{run} (1, 3, 8)", f"{front} (1, 0, 12)", f"{front} (1, 2, 11)") == 8
    assert resume(f"{front} (1, 1, 10)") == 10


def test_it_knows_a_topic_whose_offsets_a_resume_would_load(tmp_path):
    assert not recovery.known_partitions(tmp_path / "none", "payments")
    recovery.prepare(tmp_path)
    assert not recovery.known_partitions(tmp_path, "payments"), "nothing has run yet"
    # Counted by key: what Kafka's partitions, and tables, have as theirs.
    run(tmp_path, ["pay/ments/0", "gold/alerts", "short"])
    assert recovery.known_partitions(tmp_path, "pay/ments") == {0}
    for topic in ("payments", "gold", "pay", "ments", "short"):
        assert not recovery.known_partitions(tmp_path, topic)


def test_it_does_not_know_a_topic_from_an_epoch_that_a_crash_cut_off(tmp_path):
    recovery.prepare(tmp_path)
    source = TestingSource(["a", "b", TestingSource.ABORT()], batch_size=1)
    run(tmp_path, None, source=source)
    (resume,) = {recovery._resume_epoch([tmp_path / "part-0.sqlite3"])}
    for epoch, known in ((resume, set()), (resume - 1, {0})):
        with sqlite3.connect(tmp_path / "part-0.sqlite3") as store:
            store.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "VALUES ('payments.kafka', 'payments/0', ?, x'00')",
                (epoch,),
            )
        store.close()
        assert recovery.known_partitions(tmp_path, "payments") == known


def test_others_see_no_store_before_it_is_made(tmp_path, monkeypatch):
    real, seen = recovery.init_db_dir, []

    def look(folder, count):
        real(folder, count)
        seen.append(recovery.known_partitions(tmp_path, "payments"))

    monkeypatch.setattr(recovery, "init_db_dir", look)
    recovery.prepare(tmp_path)
    assert seen == [set()]
    assert recovery.known_partitions(tmp_path, "payments") == set()


def test_a_store_has_large_pages_and_a_write_ahead_log(tmp_path):
    recovery.prepare(tmp_path)
    # Before Bytewax opens it: to change it then it would need the store alone.
    assert ask(tmp_path, "PRAGMA journal_mode") == [("wal",)]
    run(tmp_path, ["a"])
    assert ask(tmp_path, "PRAGMA page_size") == [(65_536,)]
    assert ask(tmp_path, "PRAGMA journal_mode") == [("wal",)]


def test_a_store_that_is_set_aside_is_whole_and_a_new_one_begins(tmp_path):
    assert recovery.set_aside(tmp_path) is None
    recovery.prepare(tmp_path)
    run(tmp_path, ["a", "a"])
    aside = recovery.set_aside(tmp_path)
    assert aside is not None
    assert aside.parent == tmp_path
    assert not list(tmp_path.glob("part-*"))
    recovery.prepare(tmp_path)
    assert run(tmp_path, ["a"]) == [("a", 1)]
    # What was set aside can be gone on with, under another name.
    assert run(aside, ["a", "a", "a"]) == [("a", 3)]


def test_states_are_those_that_a_resume_begins_with(tmp_path):
    assert recovery.states(tmp_path, ["gold/alerts"]) == {}
    recovery.prepare(tmp_path)
    run(tmp_path, ["a"])
    (resume,) = {recovery._resume_epoch([tmp_path / "part-0.sqlite3"])}
    with sqlite3.connect(tmp_path / "part-0.sqlite3") as store:
        for epoch, number in ((resume - 2, 1), (resume - 1, 2), (resume, 3)):
            store.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "VALUES ('payments.tables', 'gold/alerts', ?, ?)",
                (epoch, pickle.dumps({"number": number})),
            )
    store.close()
    found = recovery.states(tmp_path, ["gold/alerts", "none"])
    assert found == {"gold/alerts": {"number": 2}}
    # What is no table's is left out: a state of another kind under the key.
    assert recovery.states(tmp_path, ["a"]) == {}


def test_a_store_is_in_use_while_a_process_holds_it(tmp_path):
    assert not recovery.in_use(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import pathlib, sys; from operators.connectors import recovery; "
         "recovery.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); input()",
         str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert recovery.in_use(tmp_path)
    holder.communicate("\n")
    assert not recovery.in_use(tmp_path)
    # Looking holds nothing.
    recovery.hold(tmp_path)

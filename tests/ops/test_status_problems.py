"""What a status says is open, and that what it says to do mends it."""

import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

from flows import settings as settings_
from flows.catalog import flows
from flows.streams import PAYMENTS
from operators.connectors.delta import maintenance
from operators.connectors.delta.commits import Restored, restored
from ops import cli
from ops.status import problems as status_problems
from ops.status.flow_status import TopicStatus
from ops.status.gather import status_of
from ops.status.scraped import Scraped, scrape
from ops.status.seen import see
from ops.stores import stores
from ops.topics import create_topic
from ops.topics_now import Cluster, ask
from tests.field.topic import Field, payments
from tests.ops.statuses import look, payments_of, text
from tests.running import environment, wait_until
from tests.servers import s3
from tests.servers.ports import lasting_port


def problems(field: Field, *, cluster: Cluster | None = None, **changes) -> list[str]:
    """Return the payments flow's problems, but for those that all of these tests have."""
    flow = flows(settings_.load(field.settings))[0]
    if cluster is None:
        cluster = ask(flow.settings.kafka, flow.topics, {})
    (store,) = stores([field.folder / "state/payments"])
    seen = replace(see(flow, store, None), cluster=cluster, **changes)
    status = status_of(seen, datetime.now(UTC))
    return [
        f"{each.problem} → {each.to_do}" for each in status.problems if "9%" not in each.problem
    ]


def cluster_of(field: Field, **changes) -> Cluster:
    """Return the brokers' answer of now with changes of the topic."""
    found = ask({"bootstrap.servers": field.bootstrap}, [field.topic], {})
    return replace(found, topics={field.topic: replace(found.topics[field.topic], **changes)})


def test_a_topic_that_is_another_one_by_now(tampered: Field) -> None:
    (problem,) = problems(tampered, cluster=cluster_of(tampered, identity="cluster/another"))
    assert f"was made of another topic {tampered.topic}: that one was deleted" in problem
    assert "give MILLSTREAM_DELTA_ROOT and the recovery directory (-r) new, empty" in problem


def test_a_topic_that_lost_records_or_unread_ones(tampered: Field) -> None:
    (problem,) = problems(tampered, cluster=cluster_of(tampered, ends={0: 10, 1: 20}))
    assert "partition 0 ends at 10, but offset 34 is in the tables" in problem
    gone = cluster_of(tampered, firsts={0: 40, 1: 0}, ends={0: 50, 1: 20})
    first, second = problems(tampered, cluster=gone)
    assert "retention has deleted unread records" in first
    assert "partition 0 begins at 40, 35 is the next to read" in first
    assert "does not run, and has 10 records to read" in second


def test_a_topic_that_is_not_there(tampered: Field) -> None:
    (problem,) = problems(tampered, cluster=Cluster(tampered.bootstrap))
    assert f"there is no topic '{tampered.topic}'" in problem


def test_a_partition_that_holds_up_the_windows(tampered: Field) -> None:
    held = Scraped("payments", "here:1", {(tampered.topic, 0): 75.0})
    problem = next(each for each in problems(tampered, scraped=held) if "windows" in each)
    assert f"windows wait for partition {tampered.topic}/0 since 75 s" in problem


def test_a_partition_that_the_breaker_has_paused(tampered: Field) -> None:
    paused = Scraped("payments", "here:1", paused=[(tampered.topic, 1)])
    problem = next(each for each in problems(tampered, scraped=paused) if "paused" in each)
    assert problem.startswith(f"{tampered.topic}/1 is paused")
    assert "see why with millstream dlq summary" in problem


def test_a_partition_that_was_added_to_what_runs(tampered: Field) -> None:
    grown = cluster_of(tampered, firsts={0: 0, 1: 0, 2: 0}, ends={0: 37, 1: 23, 2: 4})
    running = Scraped("payments", "here:1")
    assert any(
        "partitions 2 of topic" in each and "stop the flow and start it again" in each
        for each in problems(tampered, cluster=grown, scraped=running)
    )


@pytest.mark.parametrize("runs", [True, False])
def test_no_commit_though_there_is_something_to_read(tampered: Field, runs: bool) -> None:
    # What came just now may well be unread.
    more = cluster_of(tampered, ends={0: 100, 1: 100}, recent={0: 90, 1: 0})
    flow = flows(settings_.load(tampered.settings))[0]
    scraped = Scraped("payments", "here:1") if runs else None
    seen = replace(see(flow, None, scraped), cluster=more)
    later = status_of(seen, datetime.now(UTC)).commits[0].at + timedelta(minutes=7)
    found = [each.problem + each.to_do for each in status_of(seen, later).problems]
    (problem,) = (each for each in found if "no commit for" in each)
    assert "no commit for 7 minutes, and 55 records to read for longer than 5" in problem
    assert ("see its log" if runs else "start it, if it does not") in problem


def test_what_came_just_now_is_told_from_what_was_there_before(apache: str) -> None:
    """By Kafka's own timestamps, which the local broker cannot look up."""
    name = "times-of-a-status"
    create_topic(apache, name, 2)
    producer = Producer({"bootstrap.servers": apache, "log_level": 0})
    for seconds in (7_200, 3_600, 0):
        at = int((time.time() - seconds) * 1000)
        producer.produce(name, b"x", partition=0, timestamp=at)
    producer.produce(name, b"x", partition=1, timestamp=at - 3_600_000)
    assert producer.flush(20) == 0
    topic = ask({"bootstrap.servers": apache}, [name], {}).topics[name]
    assert (topic.ends, topic.recent) == ({0: 3, 1: 1}, {0: 2, 1: 1})
    status = TopicStatus(name, {0: 1}, "tables", topic.ends, topic.firsts, topic.recent)
    assert (status.lag, status.overdue) == (3, 2)
    status = TopicStatus(name, {0: 2, 1: 1}, "tables", topic.ends, topic.firsts, topic.recent)
    assert (status.lag, status.overdue) == (1, 0)


def test_a_table_that_is_behind_its_store_or_was_restored(tampered: Field) -> None:
    silver = tampered.folder / "tables" / "silver" / "payments"
    shutil.rmtree(silver)
    DeltaTable.create(
        str(silver), DeltaTable(str(tampered.folder / "tables/bronze/payments")).schema()
    )
    assert any("is behind the recovery store" in each for each in problems(tampered))
    bronze = DeltaTable(str(tampered.folder / "tables/bronze/payments"))
    bronze.restore(0)
    assert restored(bronze) == Restored(0)
    found = problems(tampered)
    assert any("was restored to its version 0" in each for each in found), found


def test_many_small_files_go_as_it_says(tampered: Field, monkeypatch) -> None:
    monkeypatch.setattr(status_problems, "SMALL_FILES", 2)
    silver = str(tampered.folder / "tables/silver/payments")
    maintenance.compact(str(tampered.folder / "tables"), PAYMENTS.silver, 2**20)
    write_deltalake(silver, pl.read_delta(silver).head(1).to_arrow(), mode="append")
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", str(tampered.folder / "tables"))
    said = "silver/payments has 2 small files"
    (problem,) = (each for each in problems(tampered) if said in each)
    _, *command = problem.partition(" → ")[2].split()
    assert command == ["tables", "compact", "silver/payments"]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert not any("silver/payments has" in each for each in problems(tampered))


def test_storage_that_is_away_or_a_table_that_cannot_be_read(
    tampered: Field, monkeypatch
) -> None:
    (
        tampered.folder / "tables/silver/payments/_delta_log/00000000000000000001.json"
    ).write_text("{")
    flow = payments_of(look(tampered, store="state/payments"))
    assert "silver/payments" in flow.problems[0].problem
    assert flow.problems[0].to_do.startswith("Are its files there")
    there = {each.table for each in flow.tables}
    assert {each.name for each in PAYMENTS.all_tables} - there == {"silver/payments"}
    for name, value in s3.storage_env(9).items():
        monkeypatch.setenv(name, value)
    flow = payments_of(look(tampered, DELTA_ROOT="s3://away/tables"))
    assert (flow.tables, flow.lag) == ([], 0)
    others = len(PAYMENTS.all_tables) - 1
    assert f"; nor can {others} other tables be read" in flow.problems[0].problem
    assert flow.problems[0].to_do.startswith("Is the bucket there")


def test_no_store_where_one_was_named(tampered: Field) -> None:
    (tampered.folder / "empty").mkdir()
    (problem,) = look(tampered, store="empty").problems
    assert "there is no recovery store in" in problem.problem


# The last one: it adds to the topic that the others have read.
def test_what_is_to_be_read_is_read_when_it_is_started_as_it_says(tampered: Field) -> None:
    """It then runs, as its recovery store and its metrics tell, and tells its rate."""
    tampered.send(*payments(200, 202), partition=1)
    flow = payments_of(look(tampered))
    assert (flow.lag, flow.topics[0].worst) == (3, 1)
    problem = flow.problems[0]
    assert problem.problem == "the payments flow does not run, and has 3 records to read"
    words = shlex.split(problem.to_do.removeprefix("start it: "))
    assert words[:2] == ["python", "-m"]
    port = str(lasting_port())
    api = {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": port}
    epochs = {"BYTEWAX_SNAPSHOT_INTERVAL": "1", "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0"}
    started = subprocess.Popen(
        [sys.executable, *words[1:]], cwd=tampered.folder, stderr=subprocess.DEVNULL,
        env=environment(tampered.settings | api | epochs),
    )  # fmt: skip
    try:
        bronze = DeltaTable(str(tampered.folder / "tables/bronze/payments"))

        def has(rows: int) -> bool:
            bronze.update_incremental()
            return bronze.count() == rows

        wait_until(lambda: has(58))
        tampered.send(*payments(203, 204), partition=0)
        wait_until(lambda: has(60))
        wait_until(lambda: (found := scrape(f"localhost:{port}")) and found.state == "running")
        status = look(tampered, store="", metrics=f"localhost:{port}")
        flow = payments_of(status)
        assert flow.lag == 0
        assert (flow.state, flow.metrics) == ("running", f"localhost:{port}")
        assert flow.health == "running"
        assert payments_of(look(tampered)).state == "running"
        assert flow.rate is not None
        assert flow.rate.records_per_second > 0
        assert len({each.epoch for each in flow.commits}) > 1
        assert "records/s in" in text(status)
    finally:
        started.kill()
        started.wait()

"""The doctor: what is wrong is found, and doing what it says mends it."""

import json
import os
import resource
import shutil
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow.fs as pafs
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake
from deltalake.fs import DeltaStorageHandler

from flows import settings as settings_
from flows.streams import PAYMENTS
from operators.connectors.delta import maintenance
from ops import cli
from ops.doctor import machine, servers
from ops.doctor.checks import Check, Question, answers
from ops.doctor.examine import examine
from ops.doctor.machine import MachineError
from ops.doctor.servers import Servers
from ops.topics import create_topic
from tests.field.topic import Field
from tests.servers import s3
from tests.servers.redis import redis

AWAY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SECONDS", 2.0)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch):
    """Give the doctor's checks by name, of a field's settings with others of its own."""

    def look(field: Field, *names: str, store: str = "", **changes: str) -> dict[str, Check]:
        for name in [each for each in os.environ if each.startswith(settings_.PREFIX)]:
            monkeypatch.delenv(name)
        own = {f"MILLSTREAM_{key}": value for key, value in changes.items()}
        for name, value in (field.settings | own).items():
            monkeypatch.setenv(name, value)
        return {
            each.name: each for each in examine(names, [field.folder / store] * bool(store))
        }

    return look


def wrong(checks: dict[str, Check]) -> list[str]:
    return [name for name, each in checks.items() if each.state == "wrong"]


def files(folder: Path) -> set[Path]:
    return {
        each
        for each in folder.rglob("*")
        if each.suffix not in (".sqlite3-shm", ".sqlite3-wal")
    }


def test_where_nothing_is_wrong_all_is_tried_and_nothing_left(
    read: Field, examined, tmp_path: Path
) -> None:
    before = files(read.folder)
    checks = examined(read, store="state/payments")
    assert wrong(checks) == []
    assert {each.state for each in checks.values()} == {"ok"}
    assert {"versions", "settings", "tables' storage", "brokers", "Redis", "registry"} <= {
        *checks
    }
    for name in (
        f"topic {read.topic}", f"topic {read.topic}.dlq", "group millstream-payments",
        "open files of payments", "tables of payments", "recovery store of payments",
    ):  # fmt: skip
        assert name in checks
    assert files(read.folder) == before
    # No topic either, of a flow that has never run.
    checks = examined(
        read, "clicks", CLICKS_TOPIC=read.topic, TOPIC="other", DELTA_ROOT=str(tmp_path / "a/b")
    )
    assert wrong(checks) == []
    assert checks[f"topic {read.topic}.clicks.dlq"].said.startswith("is not there yet")
    assert f"{tmp_path} can be written to" in checks["tables' storage"].said
    assert not (tmp_path / "a").exists()
    again = examined(read, "clicks", CLICKS_TOPIC=read.topic, TOPIC="other")
    assert again[f"topic {read.topic}.clicks.dlq"].said.startswith("is not there yet")


def test_settings_that_cannot_be_used_are_all_named(read: Field, examined) -> None:
    checks = examined(read, BATCH_SIZE="0", NO_SUCH="1")
    assert wrong(checks) == ["settings"]
    assert checks["all else"].state == "not tried"


def test_brokers_that_are_away_or_a_topic_that_is_missing(read: Field, examined) -> None:
    checks = examined(read, KAFKA_BOOTSTRAP_SERVERS=AWAY)
    assert wrong(checks) == ["brokers"]
    assert checks["brokers"].to_do.startswith("check that the brokers run")
    topic = checks[f"topic {read.topic}"]
    assert (topic.state, topic.said) == ("not tried", "needs: brokers")
    assert checks["tables of payments"].state == "not tried"
    name = f"{read.topic}.missing"
    checks = examined(read, TOPIC=name)
    assert wrong(checks) == [f"topic {name}"]
    assert checks[f"topic {name}"].to_do.startswith("create it")
    create_topic(read.bootstrap, name, 1)
    # A topic that the tables are not of.
    assert wrong(examined(read, TOPIC=name)) == ["tables of payments"]


def test_records_of_a_time_to_come(read: Field, examined) -> None:
    name = f"{read.topic}.ahead"
    create_topic(read.bootstrap, name, 1)
    producer = Producer({"bootstrap.servers": read.bootstrap, "log_level": 0})
    producer.produce(name, b"x", timestamp=int(time.time() * 1000) + 60_000)
    assert producer.flush(20) == 0
    check = examined(read, TOPIC=name)[f"clock of topic {name}"]
    assert check.state == "wrong"
    assert "s ahead of this machine's clock" in check.said
    assert check.to_do.startswith("set the clocks")


def test_redis_as_it_must_not_be_and_as_it_says_to_make_it(read: Field, tmp_path: Path) -> None:
    def of(url: str) -> Check:
        settings = settings_.load(read.settings | {"MILLSTREAM_REDIS_URL": url})
        (found,) = answers([Question("Redis", Servers(settings).redis)])
        return found

    away = of("redis://127.0.0.1:9")
    assert away.said.startswith("Redis at 127.0.0.1:9: ")
    assert away.to_do.startswith("check that it runs and MILLSTREAM_REDIS_URL")
    with redis(tmp_path) as server, server.admin() as admin:
        admin.config_set("maxmemory", "100mb")
        admin.config_set("maxmemory-policy", "allkeys-lru")
        evicts = of(server.url)
        assert evicts.to_do.startswith("Set maxmemory-policy noeviction")
        admin.config_set("maxmemory-policy", "noeviction")
        assert of(server.url).state == "ok"
        few = ["+eval", "+info", "+get", "+set", "+pexpire", "+hget", "~millstream:*"]
        admin.execute_command("ACL", "SETUSER", "flow", "on", ">word", *few)
        url = server.url.replace("redis://", "redis://flow:word@")
        denied = of(url)
        assert denied.state == "wrong"
        grant = denied.to_do.partition(" have ")[2].partition(",")[0]
        admin.execute_command("ACL", "SETUSER", "flow", *grant.split())
        again = of(url)
        assert again.state == "ok", again
        assert "MILLSTREAM_REDIS_URL" in of(url.replace("word", "other")).to_do
        time.sleep(1.2)
        assert admin.keys() == []
    away = of(server.url)
    assert away.state == "wrong"
    assert "check that it runs and MILLSTREAM_REDIS_URL" in away.to_do


def test_a_registry_that_is_away(read: Field, examined) -> None:
    check = examined(read, SCHEMA_REGISTRY=f"http://{AWAY}")["registry"]
    assert check.state == "wrong"
    assert "MILLSTREAM_SCHEMA_REGISTRY" in check.said + check.to_do
    assert examined(read, SCHEMA_REGISTRY=read.stack.registry_url)["registry"].state == "ok"


def test_folders_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, why in (
        (tmp_path / "file", "is no folder; name another with -r"),
        (tmp_path / "file" / "x", "is no folder; name another with -r"),
        # Not even root may make files here.
        (Path("/proc/tables"), r"cannot be written to \(.*\); let this user write there"),
    ):
        with pytest.raises(MachineError, match=why):
            machine.folder(place, "-r")
    with pytest.raises(MachineError, match="GiB left; make room"):
        machine.folder(tmp_path, "-r", room=2**80)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        # The kernel's limit on files stands for a full disk.
        with pytest.raises(MachineError, match=r"cannot be written to .*File too large"):
            machine.folder(tmp_path, "-r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_storage_that_is_away_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.storage_env(9).items():
        monkeypatch.setenv(name, value)
    (found,) = answers([Question("storage", partial(machine.storage, "s3://away/tables"))])
    assert found.state == "wrong"
    assert found.to_do.startswith("Is the bucket there")


def test_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Field, examined
) -> None:
    s3.needed()
    with s3.s3(tmp_path) as port:
        for name, value in s3.storage_env(port).items():
            monkeypatch.setenv(name, value)
        lacking = examined(read, DELTA_ROOT="s3://nobody-made-it/tables")
        assert lacking["tables' storage"].to_do.startswith("Is the bucket there")
        assert lacking["tables of payments"].state == "not tried"
        s3.create_bucket(port, "tables")
        assert "can be written, listed and read" in machine.storage("s3://tables/root")
        files = pafs.PyFileSystem(DeltaStorageHandler("s3://tables/"))
        assert files.get_file_info(pafs.FileSelector("", recursive=True)) == []
        # Tables there are maintained as those in folders are.
        kept, name = (
            pl.read_delta(str(read.folder / "tables/silver/payments")),
            "silver/payments",
        )
        for row in range(3):
            write_deltalake(
                f"s3://tables/{name}", kept[row : row + 1].to_arrow(), mode="append"
            )
        rewritten = maintenance.compact("s3://tables", PAYMENTS.silver, 2**20)
        assert (rewritten.removed, rewritten.added) == (3, 1)
        # Of two commits one says for how long the log is kept.
        assert maintenance.checkpoint("s3://tables", PAYMENTS.silver) == 4
        assert len(maintenance.vacuum("s3://tables", PAYMENTS.silver, timedelta(0))) == 3
        assert DeltaTable(f"s3://tables/{name}").to_pyarrow_table().num_rows == 3


def test_tables_that_were_restored_or_are_behind(tampered: Field, examined) -> None:
    bronze = tampered.folder / "tables/bronze/payments"
    shutil.copytree(bronze, tampered.folder / "kept")
    DeltaTable(str(bronze)).restore(0)
    checks = examined(tampered, store="state/payments")
    assert wrong(checks) == ["tables of payments"]
    assert "was restored to its version 0" in checks["tables of payments"].said
    assert checks["recovery store of payments"].state == "not tried"
    # As it says: this table deleted; with the recovery directory still there it goes on.
    assert checks["tables of payments"].to_do.startswith("Delete this table and the recovery")
    shutil.rmtree(bronze)
    checks = examined(tampered, store="state/payments")
    assert wrong(checks) == ["recovery store of payments"]
    assert "is behind the recovery store" in checks["recovery store of payments"].said
    shutil.rmtree(tampered.folder / "state/payments")
    (tampered.folder / "state/payments").mkdir()
    checks = examined(tampered, store="state/payments")
    assert wrong(checks) == []
    assert checks["recovery store of payments"].state == "note"
    shutil.copytree(tampered.folder / "kept", bronze)


def test_a_store_of_another_flow_or_of_other_definitions(tampered: Field, examined) -> None:
    checks = examined(tampered, store="state/payments", KEY_GROUPS="8")
    assert wrong(checks) == []
    store = checks["recovery store of payments"]
    assert store.state == "note"
    assert "key groups were 16 and are 8: state is made anew" in store.said
    (tampered.folder / "text").mkdir()
    (tampered.folder / "text/part-0.sqlite3").write_text("no store at all, but a text")
    checks = examined(tampered, store="text")
    assert wrong(checks) == ["recovery directories"]
    assert "is no recovery store" in checks["recovery directories"].said


def test_the_command(read: Field, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name in [each for each in os.environ if each.startswith(settings_.PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in read.settings.items():
        monkeypatch.setenv(name, value)

    def status(*arguments: str) -> object:
        with pytest.raises(SystemExit) as ended:
            cli.main(["doctor", *arguments])
        return ended.value.code

    assert status("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["to_do"]) == (True, [])
    assert status("payment") == 2
    monkeypatch.setenv("MILLSTREAM_REDIS_URL", f"redis://{AWAY}/0")
    monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", f"http://{AWAY}")
    capsys.readouterr()
    assert status() == 1
    lines = capsys.readouterr().out.splitlines()
    to_mend = lines[lines.index("To mend, in this order:") + 1 :]
    assert [line[:2] for line in to_mend] == ["1.", "2."]
    assert "MILLSTREAM_REDIS_URL" in to_mend[0]
    assert "MILLSTREAM_SCHEMA_REGISTRY" in to_mend[1]

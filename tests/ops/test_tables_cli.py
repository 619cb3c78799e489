"""Tables are maintained while their flow writes, and restored so that it writes them again."""

import json
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import PAYMENTS, all_tables, upkeep_of, writers
from operators.connectors.delta import maintenance, restoring
from operators.connectors.delta.commits import Commit, fences, newest_commits, newest_fence
from operators.connectors.delta.maintenance import OwnedError
from operators.connectors.delta.ordering import z_order
from operators.connectors.delta.restoring import RestoreError, restore
from operators.records.tables import Table
from ops import cli
from ops.local import Stack
from ops.verify import verify
from tests.compare import Difference, read_tables
from tests.field.topic import Field, payment, payments
from tests.running import wait_until

NOW = timedelta(0)
ROUNDS = 4


def root_of(field: Field) -> str:
    return field.settings["MILLSTREAM_DELTA_ROOT"]


def handle(field: Field, table: Table) -> DeltaTable:
    return DeltaTable(f"{root_of(field)}/{table.name}")


def maintain(root: str, done: dict[str, int]) -> None:
    """Do all that there is to do, with no mercy: every file that is no part of a table goes."""
    for table in PAYMENTS.all_tables:
        if not DeltaTable.is_deltatable(f"{root}/{table.name}"):
            continue
        rewritten = maintenance.compact(root, table, upkeep_of(table.name).target)
        if table is PAYMENTS.silver:
            rewritten = z_order(root, table, ["card_id"], 2**20)
        done["removed"] += rewritten.removed
        maintenance.checkpoint(root, table)
        done["deleted"] += len(maintenance.vacuum(root, table, NOW))


@pytest.fixture(scope="module")
def maintained(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A topic and its tables, which were maintained while the flow wrote them and after."""
    field = Field(stack, stack.bootstrap, tmp_path_factory.mktemp("maintained"))
    field.create(2)
    flow, done = field.flow(), {"removed": 0, "deleted": 0}
    bronze = Path(root_of(field)) / PAYMENTS.bronze.name
    for number in range(ROUNDS):
        first = 40 * number
        field.send(*payments(first, first + 39), b"no payment", partition=number % 2)
        field.send(*payments(first + 30, first + 35), partition=number % 2)
        maintain(root_of(field), done)
        if number == 1:
            wait_until(lambda: DeltaTable.is_deltatable(str(bronze)))
            # As a crash does: a replay finds the fence behind all the rewriting.
            flow.kill()
            maintain(root_of(field), done)
            flow = field.flow()
        wait_until(lambda n=number: rows(field, PAYMENTS.bronze) == 47 * (n + 1))
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    maintain(root_of(field), done)
    assert "commit failed" not in flow.said()
    assert done["removed"] > 0
    assert done["deleted"] > 0
    return field


def rows(field: Field, table: Table) -> int:
    uri = f"{root_of(field)}/{table.name}"
    return DeltaTable(uri).count() if DeltaTable.is_deltatable(uri) else 0


def test_tables_are_exact_that_were_maintained_while_the_flow_wrote(maintained: Field) -> None:
    report = verify(settings_.load(maintained.settings))
    assert report.ok, report
    assert report.counts["events"] == ROUNDS * 47
    for table in (PAYMENTS.silver, PAYMENTS.bronze):
        operations = {each["operation"] for each in handle(maintained, table).history()}
        assert {"OPTIMIZE", "WRITE", "VACUUM END"} <= operations
        assert newest_fence(handle(maintained, table), "payments") is not None


@pytest.fixture
def copied(maintained: Field, tmp_path: Path) -> Field:
    shutil.copytree(maintained.folder / "tables", tmp_path / "tables")
    found = Field(maintained.stack, maintained.bootstrap, tmp_path)
    found.topic = maintained.topic
    found.settings = maintained.settings | {"MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables")}
    return found


def test_a_restored_table_accounts_for_what_it_did_and_is_filled_again(
    stack: Stack, tmp_path: Path
) -> None:
    """Each of several, to versions of different epochs, with an empty recovery store."""
    field = Field(stack, stack.bootstrap, tmp_path)
    field.create(2)
    for partition, first in ((0, 0), (1, 1_000)):
        values = [payment(number) for number in range(first, first + 300, 4)]
        field.send(*values[:20], b"no payment", *values[20:], *values[:9], partition=partition)

    def run_flow(state: str, *arguments: str) -> None:
        flow = field.flow("payments", state, *arguments, STOP_AT_END="true", BATCH_SIZE="20")
        assert flow.wait() == 0, flow.said()

    # Epochs of few records each.
    run_flow("state", "-s", "0")
    before = read_tables(settings_.load(field.settings))
    minute = PAYMENTS.window_table("terminal_minute")
    for table, back in ((PAYMENTS.silver, 2), (PAYMENTS.bronze, 1), (minute, 1)):
        ours = commits(field, table)
        assert len(ours) > back
        to = ours[back]
        assert restore(root_of(field), table, "payments", to.version, "0") == to.version
        assert newest_fence(handle(field, table), "payments") == to.fence
        assert next(fences(handle(field, table), "payments"))[0] == to.fence
        lost = sum(each.rows or 0 for each in ours[:back])
        assert rows(field, table) == before[table.name].height - lost
    run_flow("empty")
    after = read_tables(settings_.load(field.settings))
    found = Difference()
    for name, frame in before.items():
        found.add(name, frame, after[name])
    assert (found.differences, found.examples) == (0, [])
    assert verify(settings_.load(field.settings)).ok


def commits(field: Field, table: Table) -> list[Commit]:
    """Return the commits of a table's rows, the newest first."""
    return [each for each in newest_commits(handle(field, table), 999) if each.rows]


def test_what_cannot_be_restored_rightly_is_refused(copied: Field, monkeypatch) -> None:
    root, bronze = root_of(copied), PAYMENTS.bronze
    newest = handle(copied, bronze).version()
    with pytest.raises(RestoreError, match="choose a version with rows of the flow"):
        restore(root, bronze, "payments", 0, "0")
    with pytest.raises(RestoreError, match=f"is as of version {newest} already"):
        restore(root, bronze, "payments", newest, "0")
    with pytest.raises(RestoreError, match=r"has no version 9999 any more.*tables history"):
        restore(root, bronze, "payments", 9999, "0")
    ours = commits(copied, bronze)
    with pytest.raises(RestoreError, match=r"is from before payments/.*/1, .* came: choose a"):
        restore(root, bronze, "payments", ours[-1].version, "0")
    oldest = [each for each in ours if len(each.fence) == len(ours[0].fence)][-1]
    with pytest.raises(RestoreError, match=r"files of version \d+ are gone"):
        restore(root, bronze, "payments", oldest.version, "0")
    assert handle(copied, bronze).version() == newest
    told = restoring.commits.metadata

    def meanwhile(found: dict[str, object]) -> dict[str, object]:
        changed = handle(copied, bronze)
        changed.alter.set_table_properties({"delta.appendOnly": "false"})
        return told(found)

    monkeypatch.setattr(restoring.commits, "metadata", meanwhile)
    with pytest.raises(RestoreError, match="stop the payments flow first"):
        restore(root, bronze, "payments", newest - 1, "0")


def test_one_at_a_time_maintains_a_table(copied: Field) -> None:
    root = root_of(copied)
    with maintenance.owned(root, PAYMENTS.silver):
        with pytest.raises(
            OwnedError, match="somebody else is at the maintenance of table silver"
        ):
            maintenance.compact(root, PAYMENTS.silver, 1)
        maintenance.checkpoint(root, PAYMENTS.bronze)
    maintenance.checkpoint(root, PAYMENTS.silver)


def test_orphans_go_only_where_they_are_meant(copied: Field) -> None:
    root, late = root_of(copied), PAYMENTS.quarantine
    orphan = Path(root) / late.name / "part-of-nothing.snappy.parquet"
    orphan.write_bytes(b"a crash left it behind")
    old = 1_700_000_000
    os.utime(orphan, (old, old))
    maintenance.vacuum(root, late, timedelta(hours=1))
    assert orphan.exists()
    before = rows(copied, late)
    assert maintenance.vacuum(root, late, timedelta(hours=1), orphans=True) == [orphan.name]
    assert not orphan.exists()
    assert rows(copied, late) == before


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["tables", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_commands(copied: Field, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", root_of(copied))

    def found(*arguments: str) -> list[dict[str, object]]:
        assert run(*arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    info = {each["table"]: each for each in found("info")}
    assert info["bronze/payments"]["rows"] == ROUNDS * 47
    assert info["silver/payments"]["z_order"] == ["card_id"]
    assert {each["table"] for each in found("compact")} == {*info}
    (ordered,) = found("zorder")
    assert (ordered["table"], ordered["by"]) == ("silver/payments", ["card_id"])
    (other,) = found("zorder", "gold/alerts", "--by", "rule_id,event_time")
    assert other["by"] == ["rule_id", "event_time"]
    assert {each["kept"] for each in found("vacuum")} == {"1 day, 0:00:00"}
    (kept,) = found("vacuum", "silver/payments", "--keep", "2h")
    assert (kept["kept"], kept["deleted"]) == ("2:00:00", 0)
    assert len(found("checkpoint")) == len(info)
    newest, *_ = found("history", "silver/payments", "--limit", "3")
    assert newest["version"] == handle(copied, PAYMENTS.silver).version()
    assert run("history", "silver/payments") == 0
    assert "OPTIMIZE" in capsys.readouterr().out
    with maintenance.owned(root_of(copied), PAYMENTS.silver):
        assert run("compact", "silver/payments") == 1
    assert rows(copied, PAYMENTS.bronze) == ROUNDS * 47


@pytest.mark.parametrize(
    ("command", "status", "part"),
    [
        ("info silver", 2, "there is no table silver: bronze/payments"),
        ("info silver/clicks", 1, "there is no table silver/clicks under"),
        ("vacuum --keep 5m", 2, "--keep is 5m: readers may be at files that went less than 1h"),
        ("vacuum --keep soon", 2, "--keep: 'soon' is no duration"),
        ("compact --target-mb 0", 2, "--target-mb is 0, not 1 or more"),
        ("zorder bronze/payments", 2, "no order is declared of these tables"),
        ("zorder bronze/payments --by card_id", 2, "bronze/payments has no column card_id"),
        ("restore silver/payments --version 0", 1, "choose a version with rows of the flow"),
        ("restore silver/payments --time 2020-01-01", 1, "table silver/payments"),
        ("info --root nowhere", 1, "no tables under nowhere"),
    ],
)
def test_a_mistake_is_one_line(
    maintained: Field, command: str, status: int, part: str, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", root_of(maintained))
    assert run(*command.split()) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line


def test_every_table_has_its_flow() -> None:
    assert {*writers()} == {each.name for each in all_tables()}
    assert {flow for _, flow in writers().values()} == {
        "payments", "clicks", "chargebacks", "enriched", "customers", "terminals"
    }  # fmt: skip

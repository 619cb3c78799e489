"""Other engines and people work on the flow's tables too."""

import json
import shutil
import signal
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from flows.tables import WINDOWED
from tests.field import tables
from tests.field.topic import Field, offsets, payments
from tests.running import wait_until

STAMPS = ["written_at", "flow_version"]


def read_all(field: Field, rows: int, state: str = "state", root: str = "tables") -> str:
    """Run the flow until bronze has so many rows, stop it, and return what it said."""
    there = field.folder / root / "bronze" / "payments" / "_delta_log"
    flow = field.flow("payments", state, DELTA_ROOT=str(field.folder / root))
    wait_until(lambda: there.exists() and field.table("bronze/payments", root).height >= rows)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    return flow.said()


def refusal(field: Field, state: str = "state") -> str:
    """Run the flow, which must refuse in one line, and return that."""
    flow = field.flow("payments", state)
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    (line,) = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    return line


def assert_exact(field: Field, last: int) -> None:
    """Compare all tables with those of a flow that nobody interfered with."""
    read_all(field, last, "reference", "reference")
    for name in tables.names():
        found, expected = (
            field.table(name, root).drop(STAMPS) for root in ("tables", "reference")
        )
        assert_frame_equal(found, expected, check_row_order=False)
    assert offsets(field.table("silver/payments")) == list(range(last))


def test_spark_drops_the_offsets_that_tables_account_for_and_nothing_is_lost_or_doubled(
    local: Field,
) -> None:
    """Its checkpoints leave out old transactions where the tables' property says so.

    Also without the recovery store, and with the log's old commits gone, as the refusal advises.
    """
    folder = local.folder / "tables"
    local.create()
    local.send(*payments(0, 199))
    read_all(local, 200)
    for name in tables.names():
        tables.limit_transactions(folder, name)
        kept = tables.checkpoint_of_spark(folder, name)
        assert kept or not local.table(name).height, f"{name}: a fence of today is kept"
        assert tables.checkpoint_of_spark(folder, name, timedelta(days=8)) == 0
    local.send(*payments(200, 299))
    said = read_all(local, 300)
    assert "gold/terminal_minute: what it accounts for is gone" in said
    assert tables.PROPERTY in said
    for name in tables.names():
        tables.checkpoint_of_spark(folder, name, timedelta(days=8))
    local.send(*payments(300, 399))
    read_all(local, 400, "lost")

    for name in tables.names():
        # The newest commit, which is always kept, is not the flow's.
        tables.limit_transactions(folder, name)
        tables.checkpoint_of_spark(folder, name, timedelta(days=8))
        tables.clean_up_log(folder, name)
    local.send(*payments(400, 449))
    said = refusal(local, "lost")
    assert f"their property {tables.PROPERTY} is set" in said
    assert "Delete these tables and the recovery directory" in said
    windowed = {f"gold/{name}" for name in WINDOWED}
    lost = {name for name in tables.names() if name in said}
    assert lost <= windowed
    assert "gold/terminal_minute" in lost
    # What it says to do.
    for name in lost:
        shutil.rmtree(folder / name)
    read_all(local, 450, "new")
    assert_exact(local, 450)


def test_the_history_says_where_rows_came_from(local: Field) -> None:
    local.create(2)
    local.send(*payments(0, 9))
    local.send(*payments(10, 14), partition=1)
    read_all(local, 15)
    local.send(*payments(20, 24), partition=1)
    read_all(local, 20)
    table = DeltaTable(local.folder / "tables" / "bronze" / "payments")
    told = [json.loads(c["userMetadata"]) for c in table.history() if "userMetadata" in c]
    topic = f"payments/{local.topic}"
    newest, first = told[0], told[-1]
    assert (newest["flow"], newest["epoch"] > 0, newest["rows"]) == ("payments", True, 5)
    assert {newest["fence"][f"{topic}/{p}"] for p in (0, 1)} == {9}
    assert newest["before"][f"{topic}/1"] == 4
    assert f"{topic}/0" not in newest["before"]
    assert newest["millstream"] == field_version(table)
    assert newest["run"] != first["run"]


def field_version(table: DeltaTable) -> str:
    (version,) = pl.read_delta(table)["flow_version"].unique()
    return str(version)


def test_a_table_that_was_restored_by_time_is_refused_and_made_anew(local: Field) -> None:
    local.create()
    local.send(*payments(0, 9))
    read_all(local, 10)
    folder = local.folder / "tables"
    (then,) = DeltaTable(folder / "silver" / "payments").history(1)
    local.send(*payments(10, 19))
    read_all(local, 20)
    at = datetime.fromtimestamp(then["timestamp"] / 1000, UTC) + timedelta(milliseconds=1)
    DeltaTable(folder / "silver" / "payments").restore(at)
    assert local.table("silver/payments").height == 10
    said = refusal(local)
    assert "table silver/payments was restored to its rows of" in said
    assert "Delete this table and the recovery directory" in said
    shutil.rmtree(folder / "silver" / "payments")
    read_all(local, 20, "new")
    wait_until(lambda: local.table("silver/payments").height == 20)
    assert_exact(local, 20)


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"delta.columnMapping.mode": "name"}, "SET TBLPROPERTIES ('delta.columnMapping.mode'"),
        ({"delta.enableInCommitTimestamps": "true"}, "InCommitTimestamp"),
    ],
    ids=["column mapping", "in-commit timestamps"],
)
def test_features_that_another_engine_turned_on_are_named(
    local: Field, properties: dict[str, str], told: str
) -> None:
    local.create()
    local.send(*payments(0, 9))
    read_all(local, 10)
    log = local.folder / "tables" / "bronze" / "payments" / "_delta_log"
    turned_on(log, properties)
    local.send(*payments(10, 19))
    flow = local.flow()
    assert flow.wait() == 1
    assert told in flow.said()
    assert "bronze/payments" in flow.said()


def turned_on(log, properties: dict[str, str]) -> None:
    """Commit what Spark's ALTER TABLE … SET TBLPROPERTIES does for these."""
    first = (log / f"{0:020}.json").read_text().splitlines()
    (made,) = (a["metaData"] for a in map(json.loads, first) if "metaData" in a)
    made["configuration"] |= properties
    protocol = (
        {"minReaderVersion": 2, "minWriterVersion": 5}
        if "delta.columnMapping.mode" in properties
        else {"minReaderVersion": 1, "minWriterVersion": 7,
              "writerFeatures": ["inCommitTimestamp", "invariants", "appendOnly"]}
    )  # fmt: skip
    version = max(int(each.stem) for each in log.glob("*.json")) + 1
    at = int(datetime.now(UTC).timestamp() * 1000)
    info = {"timestamp": at, "inCommitTimestamp": at, "operation": "SET TBLPROPERTIES"}
    actions = [{"commitInfo": info}, {"metaData": made}, {"protocol": protocol}]
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))

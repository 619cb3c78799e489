"""Other engines and people work on the flow's tables too."""

import json
import shutil
import signal
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from flows.streams import PAYMENTS
from tests.field import tables
from tests.field.topic import Field, offsets, payments
from tests.running import wait_until

STAMPS = ["written_at", "flow_version"]


def read_all(
    field: Field,
    rows: int,
    state: str = "state",
    root: str = "tables",
    table: str = "bronze/payments",
) -> str:
    """Run the flow until a table has so many rows, stop it, and return what it said."""
    there = field.folder / root / table / "_delta_log"
    flow = field.flow("payments", state, DELTA_ROOT=str(field.folder / root))
    wait_until(lambda: there.exists() and field.table(table, root).height >= rows, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    return flow.said()


def refusal(field: Field, state: str = "state") -> str:
    """Run the flow, which must refuse in one line, and return that."""
    flow = field.flow("payments", state)
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    *_, line = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    return line


def assert_exact(field: Field, last: int) -> None:
    """Compare all tables with those of a flow that nobody interfered with."""
    read_all(field, last, "clean", "reference")
    for name in tables.names():
        found, expected = (
            field.table(name, root).drop(STAMPS) for root in ("tables", "reference")
        )
        assert_frame_equal(found, expected, check_row_order=False)
    assert offsets(field.table("silver/payments")) == list(range(last))


@pytest.mark.slow
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
    assert_history_tells(local)
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
    windowed = {f"gold/{name}" for name in PAYMENTS.windows}
    lost = {name for name in tables.names() if name in said}
    assert lost <= windowed
    assert "gold/terminal_minute" in lost
    # What it says to do.
    for name in lost:
        shutil.rmtree(folder / name)
    read_all(local, 450, "new")
    assert_exact(local, 450)


def assert_history_tells(field: Field) -> None:
    """Look at what `DESCRIBE HISTORY` shows of bronze."""
    table = DeltaTable(field.folder / "tables" / "bronze" / "payments")
    told = [json.loads(c["userMetadata"]) for c in table.history() if "userMetadata" in c]
    place = f"payments/{field.topic}/0"
    ours = [each for each in told if each["run"] == told[0]["run"]]
    assert 1 <= len(ours) < len(told)
    assert all(each["flow"] == "payments" for each in told)
    assert all(each["millstream"] == version("millstream") for each in told)
    assert told[0]["fence"][place] == 299
    assert told[0]["before"][place] < 299
    assert sum(each["rows"] for each in ours) == 100
    assert sum(each["rows"] for each in told) == 300


def test_a_table_that_was_restored_by_time_is_refused_and_made_anew(local: Field) -> None:
    local.create()
    local.send(*payments(0, 9))
    read_all(local, 10)
    silver = local.folder / "tables" / "silver" / "payments"
    then = datetime.now(UTC)
    local.send(*payments(10, 19))
    read_all(local, 20)
    DeltaTable(silver).restore(then)
    assert local.table("silver/payments").height == 10
    said = refusal(local)
    assert "table silver/payments was restored to its rows of" in said
    assert "Delete this table and the recovery directory" in said
    # What it says to do.
    shutil.rmtree(silver)
    read_all(local, 20, "new", table="silver/payments")
    assert offsets(local.table("silver/payments")) == list(range(20))
    assert offsets(local.table("bronze/payments")) == list(range(20))

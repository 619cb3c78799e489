"""Columns that a release, or somebody else, adds to tables that are there."""

import json
import shutil
import signal
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake import Field as Column

import schemas
from tests.field.topic import Field, offsets, payments
from tests.running import wait_until

ROOT = Path(__file__).parents[2]


def read_all(field: Field, rows: int) -> None:
    """Run the flow until silver has so many rows, and stop it."""
    there = field.folder / "tables" / "silver" / "payments" / "_delta_log"
    flow = field.flow()
    wait_until(lambda: there.exists() and field.table("silver/payments").height >= rows, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()


def next_release(field: Field) -> None:
    """Have the flows run with a payment's next schema, which has one more field."""
    package = field.folder / "release" / "schemas"
    shutil.copytree(ROOT / "schemas", package)
    newest = schemas.latest("payment")
    loyalty = {"name": "loyalty_points", "type": ["null", "long"], "default": None}
    newest = newest | {"fields": [*newest["fields"], loyalty]}
    number = schemas.versions("payment")[-1] + 1
    (package / "payment" / f"{number}.avsc").write_text(json.dumps(newest))
    field.settings["PYTHONPATH"] = f"{package.parent}:{ROOT}"


def table(field: Field, name: str) -> DeltaTable:
    return DeltaTable(field.folder / "tables" / name)


def test_a_new_field_and_somebody_elses_columns_are_columns_of_tables_that_are_there(
    local: Field,
) -> None:
    local.create()
    local.send(*payments(0, 9))
    read_all(local, 10)
    next_release(local)
    table(local, "bronze/payments").alter.add_columns([Column("note", "string")])
    local.send(*payments(10, 19))
    flow = local.flow()
    wait_until(lambda: local.table("silver/payments").height == 20, 120)
    # While it runs, too.
    table(local, "silver/payments").alter.add_columns([Column("checked_by", "string")])
    local.send(*payments(20, 29))
    wait_until(lambda: local.table("silver/payments").height == 30, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    silver = local.table("silver/payments")
    assert offsets(silver) == list(range(30))
    assert silver["loyalty_points"].dtype == pl.Int64
    assert silver["loyalty_points"].null_count() == silver["checked_by"].null_count() == 30
    bronze = local.table("bronze/payments")
    assert offsets(bronze) == list(range(30))
    assert bronze["note"].null_count() == 30
    # The release before writes to what it does not know as well.
    del local.settings["PYTHONPATH"]
    local.send(*payments(30, 39))
    read_all(local, 40)
    assert offsets(local.table("silver/payments")) == list(range(40))


def test_a_column_of_another_type_is_refused_and_the_table_made_anew_as_advised(
    local: Field,
) -> None:
    local.create()
    local.send(*payments(0, 9))
    read_all(local, 10)
    name = "silver/duplicates"
    there = local.table(name).with_columns(source_offset=pl.lit("x"))
    there.write_delta(
        str(local.folder / "tables" / name),
        mode="overwrite",
        delta_write_options={"schema_mode": "overwrite"},
    )
    flow = local.flow()
    assert flow.wait() == 1
    (line,) = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    assert (
        f'table {name} has column source_offset as "string", and this flow writes "long"'
        in line
    )
    assert "move this table away and delete the recovery directory" in line
    assert "Traceback" not in flow.said()
    shutil.move(local.folder / "tables" / name, local.folder / "away")
    shutil.rmtree(local.folder / "state" / "payments")
    local.send(*payments(5, 14))
    read_all(local, 15)
    assert offsets(local.table("bronze/payments")) == list(range(20))
    wait_until(lambda: local.table(name).height == 5)

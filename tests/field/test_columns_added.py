"""Columns that a release, or somebody else, adds to tables that are there."""

import io
import json
import shutil
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
from deltalake import DeltaTable
from deltalake import Field as Column

import schemas
from flows import settings as settings_
from ops.verify import verify
from tests.field.topic import Field, offsets, payment, payments
from tests.operators.connectors.registry_server import serving
from tests.ops.reports import broken
from tests.running import wait_until

ROOT = Path(__file__).parents[2]


def read_all(field: Field, rows: int) -> None:
    """Run the flow until silver has so many rows, and stop it."""
    there = field.folder / "tables" / "silver" / "payments" / "_delta_log"
    flow = field.flow()
    wait_until(lambda: there.exists() and field.table("silver/payments").height >= rows, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()


PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [{"name": "sku", "type": "string"}, {"name": "price", "type": PRICE}],
}
ADDED = [
    {"name": "loyalty_points", "type": ["null", "long"], "default": None},
    {"name": "basket", "type": {"type": "array", "items": ITEM}, "default": []},
    {"name": "tags", "type": ["null", {"type": "map", "values": "string"}], "default": None},
]
NEXT = schemas.versions("payment")[-1] + 1
NEWEST = schemas.latest("payment")
NEWEST = NEWEST | {"fields": [*NEWEST["fields"], *ADDED]}


def next_release(field: Field) -> None:
    """Have the flows run with a payment's next schema, which has more fields, some nested."""
    package = field.folder / "release" / "schemas"
    shutil.copytree(ROOT / "schemas", package)
    (package / "payment" / f"{NEXT}.avsc").write_text(json.dumps(NEWEST))
    field.settings["PYTHONPATH"] = f"{package.parent}:{ROOT}"


def of_next(value: bytes) -> bytes:
    """Return a payment as the next release's producers write it: with its basket and tags."""
    items = [{"sku": "a", "price": Decimal("1.25")}, {"sku": "b", "price": Decimal(-2)}]
    out = io.BytesIO()
    parsed = fastavro.parse_schema(record("Basket", *ADDED))
    fastavro.schemaless_writer(
        out, parsed, {"loyalty_points": 7, "basket": items, "tags": {"shop": "web"}}
    )
    return (
        b"\0"
        + schemas.local_id("payment", NEXT).to_bytes(4, "big")
        + value[5:]
        + out.getvalue()
    )


def record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


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
    local.send(*map(of_next, payments(20, 28)), of_next(payment(29, currency="?")), payment(30))
    wait_until(lambda: local.table("silver/payments").height == 30, 120)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    silver = local.table("silver/payments")
    assert offsets(silver) == [*range(29), 30]
    assert silver["checked_by"].null_count() == 30
    assert silver["loyalty_points"].to_list() == [None] * 20 + [7] * 9 + [None]
    # What was written before there was a basket is null; what is read as if it had one is empty.
    items = [{"sku": "a", "price": Decimal("1.25")}, {"sku": "b", "price": Decimal(-2)}]
    assert silver["basket"].to_list() == [None] * 10 + [[]] * 10 + [items] * 9 + [[]]
    assert silver["basket"].dtype == pl.List(
        pl.Struct({"sku": pl.String(), "price": pl.Decimal(12, 2)})
    )
    tags = [{"key": "shop", "value": "web"}]
    assert silver["tags"].to_list() == [None] * 20 + [tags] * 9 + [None]
    assert local.table("quarantine/payments")["code"].to_list() == ["currency_format"]
    assert broken(verify(settings_.load(local.settings))) == []
    bronze = local.table("bronze/payments")
    assert offsets(bronze) == list(range(31))
    assert bronze["note"].null_count() == 31
    # The release before writes to what it does not know as well.
    del local.settings["PYTHONPATH"]
    local.send(*payments(31, 40))
    read_all(local, 40)
    assert offsets(local.table("silver/payments")) == [*range(29), *range(30, 41)]


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


def test_what_was_kept_for_later_is_a_column_from_the_version_on_that_names_it(
    local: Field,
) -> None:
    """Producers are ahead of this release: their field is kept, and then has its column."""
    points = ADDED[:1]
    ahead = schemas.latest("payment") | {
        "fields": [*schemas.latest("payment")["fields"], *points]
    }

    def sent(id_: int, *numbers: int) -> None:
        body = b"\2\x0e"  # the second branch of its union, and 7
        local.send(*(b"\0" + id_.to_bytes(4, "big") + payment(n)[5:] + body for n in numbers))

    def run(**settings: str) -> None:
        flow = local.flow(STOP_AT_END="true", **settings)
        assert flow.wait() == 0, flow.said()

    local.create()
    with serving() as registry:
        id_ = registry.add(f"{local.topic}-value", {"schema": json.dumps(ahead)})
        local.settings["MILLSTREAM_SCHEMA_REGISTRY"] = registry.url
        sent(id_, 0, 1)
        run()
        silver = local.table("silver/payments")
        assert silver["_rest"].to_list() == ['{"loyalty_points":7}'] * 2
        assert "loyalty_points" not in silver.columns
        next_release(local)
        sent(id_, 2, 3)
        run()
        silver = local.table("silver/payments")
        assert silver["loyalty_points"].to_list() == [None, None, 7, 7]
        assert silver["_rest"].to_list() == ['{"loyalty_points":7}'] * 2 + [None] * 2
        # It is told against the version that was here, and is against the next one, once.
        drift = local.table("gold/schema_drift").select("source_offset", "version", "change")
        assert drift.rows()[0] == (0, NEXT - 1, "added")
        assert set(drift["source_offset"]) == {0, 2}
        assert broken(verify(settings_.load(local.settings))) == []

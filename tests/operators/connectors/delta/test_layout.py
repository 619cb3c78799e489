"""Tables whose columns are not those that are declared."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake

from operators.connectors.delta.errors import UnfitTableError
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import open_table, table_uri
from operators.records.columns import HEADERS
from operators.records.tables import Table
from tests.operators.connectors.delta_flow import ROWS, Flow, held

NEW = Table(
    ROWS.name,
    {**ROWS.columns, "score": pl.Float64(), "headers": HEADERS},
    partition_by=ROWS.partition_by,
)


@pytest.fixture
def root(tmp_path) -> str:
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    flow.snapshot()
    return str(tmp_path)


def test_columns_that_a_table_lacks_are_added_and_null_in_older_rows(root):
    opened = open_table(root, NEW)
    assert opened.version() == 2
    assert open_table(root, NEW).version() == 2
    rows = read(opened, NEW.schema)
    assert dict(rows.schema) == NEW.schema
    assert rows["score"].null_count() == rows["headers"].null_count() == 2
    flow = Flow(root)  # of the release before
    flow.rows(0, 1, 2)
    flow.progress(0, 2)
    flow.snapshot()
    assert held(root) == [(0, 0), (0, 1), (0, 2)]


def test_many_that_open_a_table_at_once_add_its_columns_once(root):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_table(root, NEW), range(8)))
    names = [field.name for field in DeltaTable(table_uri(root, ROWS.name)).schema().fields]
    assert names == [*ROWS.schema, "score", "headers"]
    assert all(len(each.schema().fields) == len(names) for each in opened)


def test_a_column_added_while_a_flow_writes_is_null_in_its_rows(root):
    flow = Flow(root)
    flow.rows(0, 2)
    flow.progress(0, 2)
    DeltaTable(table_uri(root, ROWS.name)).alter.add_columns([Field("note", "string")])
    flow.snapshot()
    flow.rows(0, 3)
    flow.progress(0, 3)
    flow.snapshot()
    table = DeltaTable(table_uri(root, ROWS.name))
    assert read(table, ["note"])["note"].null_count() == 4


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"n": pl.String()}, 'has column n as "long", and this flow writes "string"'),
        ({"N": pl.Int64(), "n": None}, "has a column n where this flow writes N"),
    ],
    ids=["type", "case"],
)
def test_columns_that_do_not_fit_are_named(root, columns, told):
    kinds = {n: k for n, k in {**ROWS.columns, **columns}.items() if k is not None}
    with pytest.raises(UnfitTableError, match=f"table silver/rows {told}"):
        open_table(root, Table(ROWS.name, kinds))


def test_an_unknown_column_that_must_not_be_null_is_named(tmp_path):
    uri = table_uri(str(tmp_path), "t")
    DeltaTable.create(uri, Schema([Field("must", "long", nullable=False)]))
    with pytest.raises(UnfitTableError, match="has a column must that must not be null"):
        open_table(str(tmp_path), Table("t", {"n": pl.Int64()}))


def test_a_constraint_that_rows_break_is_told_at_once_and_without_the_rows(root):
    table = DeltaTable(table_uri(root, ROWS.name))
    table.alter.add_constraint({"small": "n < 15"})
    flow = Flow(root)
    flow.rows(0, 2)
    flow.progress(0, 2)
    with pytest.raises(
        UnfitTableError, match=r"silver/rows has a constraint .*DROP CONSTRAINT or .*NULL$"
    ):
        flow.snapshot()
    table = DeltaTable(table_uri(root, ROWS.name))
    table.alter.drop_constraint("small")
    again = Flow(root)
    again.rows(0, 2)
    again.progress(0, 2)
    again.snapshot()
    assert held(root) == [(0, 0), (0, 1), (0, 2)]


def test_rows_of_others_are_read_whatever_their_columns(tmp_path):
    write_deltalake(tmp_path / "t", pl.DataFrame({"b": ["x"], "a": [1]}))
    rows = read(DeltaTable(tmp_path / "t"), {"a": pl.Int64(), "c": pl.Float64()})
    assert rows.to_dicts() == [{"a": 1, "c": None}]
    assert rows.schema["c"] == pl.Float64()


def turned_on(root, properties: dict[str, str], protocol: dict[str, object]) -> None:
    """Commit what Spark's ALTER TABLE … SET TBLPROPERTIES does."""
    log = Path(table_uri(root, ROWS.name)) / "_delta_log"
    first = map(json.loads, (log / f"{0:020}.json").read_text().splitlines())
    (made,) = (action["metaData"] for action in first if "metaData" in action)
    schema = json.loads(made["schemaString"])
    mapped = properties.get("delta.columnMapping.mode") == "name"
    for number, field in enumerate(schema["fields"] if mapped else (), 1):
        name = field["name"]
        field["metadata"] = {
            "delta.columnMapping.id": number, "delta.columnMapping.physicalName": name
        }  # fmt: skip
    made["schemaString"] = json.dumps(schema)
    made["configuration"] |= properties
    info = {"timestamp": 1, "inCommitTimestamp": 1, "operation": "SET TBLPROPERTIES"}
    actions = [{"commitInfo": info}, {"metaData": made}, {"protocol": protocol}]
    version = DeltaTable(table_uri(root, ROWS.name)).version() + 1
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


def test_mapped_columns_are_refused_with_the_way_back(root):
    protocol = {"minReaderVersion": 2, "minWriterVersion": 5}
    turned_on(root, {"delta.columnMapping.mode": "name"}, protocol)
    with pytest.raises(UnfitTableError, match=r"\('delta.columnMapping.mode' = 'none'\)$"):
        Flow(root)
    turned_on(root, {"delta.columnMapping.mode": "none"}, protocol)
    flow = Flow(root)
    flow.rows(0, 1, 2)
    flow.progress(0, 2)
    flow.snapshot()
    rows = read(DeltaTable(table_uri(root, ROWS.name)), ["source_offset"])
    assert sorted(rows["source_offset"]) == [0, 1, 2]


def test_features_that_another_engine_turned_on_are_named_at_once(root):
    features = ["inCommitTimestamp", "invariants", "appendOnly"]
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features}
    turned_on(root, {"delta.enableInCommitTimestamps": "true"}, protocol)
    flow = Flow(root)
    flow.rows(0, 2)
    flow.progress(0, 2)
    with pytest.raises(UnfitTableError, match=r"cannot write: InCommitTimestamp.*DROP FEATURE"):
        flow.snapshot()

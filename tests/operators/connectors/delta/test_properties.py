"""What a table and its commits tell of how others may change rows while its flow adds some."""

from datetime import timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.connectors.delta import maintenance
from operators.connectors.delta.properties import ISOLATION
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import open_table, table_uri
from operators.records.batches import Progress
from operators.records.tables import COORDINATES, Table
from tests.operators.connectors.delta.test_merging_sink import Run, change, table
from tests.operators.connectors.delta_flow import ROWS, Flow, held

COMPARED = Table("gold/late", {**COORDINATES, "n": pl.Int64()}, compared=("source_offset", "n"))


def handle(root, name: str = ROWS.name) -> DeltaTable:
    return DeltaTable(table_uri(str(root), name))


def epoch(flow: Flow, *offsets: int) -> None:
    flow.rows(0, *offsets)
    flow.progress(0, offsets[-1])
    flow.snapshot()


def told(root, name: str = ROWS.name) -> str | None:
    return handle(root, name).metadata().configuration.get(ISOLATION)


def blind(root, name: str = ROWS.name) -> list[bool]:
    """Return what the flow's commits say, the newest first."""
    commits = handle(root, name).history()
    return [each["isBlindAppend"] for each in commits if each["operation"] == "WRITE"]


def test_a_flow_that_only_adds_rows_says_so_and_its_table_lets_others_pass(tmp_path):
    flow = Flow(tmp_path)
    epoch(flow, 0)
    epoch(flow, 1, 2)
    assert blind(tmp_path) == [True, True]
    assert told(tmp_path) == "WriteSerializable"


def test_one_whose_rows_depend_on_those_that_are_there_says_so(tmp_path):
    run = Run(tmp_path, table("current"))
    assert run.take([change(n, 0, n, 1) for n in range(4)], 0, 4)
    run.part.snapshot()
    assert blind(tmp_path, "gold/customers") == [False]
    assert told(tmp_path, "gold/customers") is None
    maintenance.checkpoint(str(tmp_path), table("current"))
    assert told(tmp_path, "gold/customers") is None

    sink = DeltaSink(
        str(tmp_path), [COMPARED], flow="f", flow_version="1", partitions=[("t", 0)]
    )
    part = sink.build_part("s", COMPARED.name, None)
    for rows in ([("t", 0, 5, 1)], [("t", 0, 4, 1), ("t", 0, 6, 1)]):
        part.write_batch([pl.DataFrame(rows, schema=COMPARED.columns, orient="row")])
        part.write_batch([Progress("t", 0, 1, rows[-1][2])])
        part.snapshot()
    # The row behind the fence was looked up.
    assert blind(tmp_path, COMPARED.name) == [False, True]


@pytest.mark.parametrize("before", [None, "Serializable"])
def test_a_table_of_before_is_told_by_maintenance_and_who_chose_is_obeyed(tmp_path, before):
    configuration = {ISOLATION: before} if before else {}
    schema = open_table(str(tmp_path / "other"), ROWS).schema()
    DeltaTable.create(
        table_uri(str(tmp_path), ROWS.name), schema, partition_by=["day"],
        configuration=configuration,
    )  # fmt: skip
    flow = Flow(tmp_path)
    epoch(flow, 0)
    assert told(tmp_path) == before
    maintenance.checkpoint(str(tmp_path), ROWS, timedelta(days=1))
    assert told(tmp_path) == (before or "WriteSerializable")
    epoch(flow, 1)
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_deletion_of_ours_is_of_rows_too_that_came_in_between(tmp_path, monkeypatch):
    flow = Flow(tmp_path)
    epoch(flow, 0, 1, 2)
    offsets, real = [3, 4], maintenance.writer_properties

    def called(of: Table):
        if offsets:  # which is after the table was opened
            epoch(flow, offsets.pop(0))
        return real(of)

    monkeypatch.setattr(maintenance, "writer_properties", called)
    assert maintenance.delete(str(tmp_path), ROWS, "n <> 10") == 4
    assert held(tmp_path) == [(0, 1)]
    epoch(flow, 5)
    assert held(tmp_path) == [(0, 1), (0, 5)]

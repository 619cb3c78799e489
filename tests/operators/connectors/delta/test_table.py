from pathlib import Path

from operators.connectors.delta.table import table_uri
from operators.event_time.frontier import joining_floors
from operators.records.batches import Progress
from tests.operators.connectors.delta_flow import ROWS, Flow, fence, sink


def test_a_table_lies_under_its_root_whether_or_not_it_ends_with_a_slash():
    assert table_uri("s3://bucket/root/", "gold/x") == "s3://bucket/root/gold/x"
    for root in ("tables", "./tables/", f"file://{Path.cwd()}/tables"):
        assert table_uri(root, "gold/x") == str(Path.cwd() / "tables" / "gold" / "x")


def test_the_fence_outlives_checkpoints(tmp_path):
    flow = Flow(tmp_path)
    for offset in range(52):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    log = Path(table_uri(str(tmp_path), ROWS.name)) / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    assert fence(tmp_path).offsets == {("t", 0): 51}


def test_the_tables_keep_at_which_watermark_a_partition_joined(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0)
    flow.progress(0, 0, 40)
    for part in flow.parts.values():
        part.write_batch([Progress("t", 1, 2, -1, 90)])
    flow.snapshot()
    both = [("t", 0), ("t", 1)]
    assert joining_floors(sink(tmp_path).frontiers(), both) == {("t", 1): 40}
    again = Flow(tmp_path)
    again.rows(0, 1)
    for part in again.parts.values():
        part.write_batch([Progress("t", 1, 2, -1, floor=40), Progress("t", 0, 2, 1, 70)])
    again.snapshot()
    # Behind a crash before the recovery store knew of it, it joins where it did.
    assert joining_floors(sink(tmp_path).frontiers(), both[1:]) == {("t", 1): 40}
    assert joining_floors(sink(tmp_path / "none").frontiers(), both) == {}

from pathlib import Path

from operators.connectors.delta import table_uri
from tests.operators.connectors.delta_flow import ROWS, Flow, fence


def test_a_table_lies_under_its_root_whether_or_not_it_ends_with_a_slash():
    assert table_uri("s3://bucket/root/", "gold/x") == "s3://bucket/root/gold/x"
    assert table_uri("tables", "gold/x") == "tables/gold/x"


def test_the_fence_outlives_checkpoints(tmp_path):
    flow = Flow(tmp_path)
    for offset in range(52):
        flow.rows(0, offset)
        flow.progress(0, offset)
        flow.snapshot()
    log = Path(table_uri(str(tmp_path), ROWS.name)) / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    assert fence(tmp_path).offsets == {("t", 0): 51}

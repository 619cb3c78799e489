"""What verify says in SQL, beside the flow's own code, which tests hold to an oracle."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.event_time.watermarks import Bounds, PartitionWatermark
from operators.records.batches import NO_WATERMARK
from ops.verify.statements import derived

START = datetime(2026, 3, 1, tzinfo=UTC)
records = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 99), st.booleans()), min_size=1, max_size=20
)
ends = st.fixed_dictionaries({}, optional={0: st.integers(-1, 20), 1: st.integers(-1, 20)})
earlier = st.lists(st.tuples(st.integers(0, 50), ends), max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statements")


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(records, earlier, st.integers(0, 50))
def test_a_watermark_is_what_each_bound_made_it_whose_records_there_are(
    folder, sent, told, now
):
    """Bounds count up to offsets; some of these were refused, so that there is no record."""
    before, last = [], {0: -1, 1: -1}
    for bound, each in told:
        last = {p: max(offset, each.get(p, -1)) for p, offset in last.items()}
        before.append((bound, last))
    bounds = Bounds(now, tuple(before))
    rows, watermarks = [], [PartitionWatermark(bounds) for _ in range(2)]
    for offset, (partition, time, refused) in enumerate(sent):
        if refused:
            continue
        place = {"source_partition": [partition], "source_offset": [offset]}
        (made,) = watermarks[partition].advance(np.array([time]), pl.DataFrame(place))
        reached = None if made == NO_WATERMARK else START + timedelta(microseconds=int(made))
        rows.append(("t", partition, offset, START + timedelta(microseconds=time), reached))
    columns = ["source_topic", "source_partition", "source_offset", "event_time", "expected"]
    types = [pl.String, pl.Int32, pl.Int64, *[pl.Datetime("us", "UTC")] * 2]
    frame = pl.DataFrame(rows, dict(zip(columns, types, strict=True)), orient="row")
    write_deltalake(folder, frame.to_arrow(), mode="overwrite")
    engine = QueryBuilder().register("records", DeltaTable(folder))
    found = pa.table(engine.execute(derived("records", columns[1:], bounds)).read_all())
    for row in found.to_pylist():
        assert row["derived"] == row["expected"], row
    assert found.num_rows == frame.height

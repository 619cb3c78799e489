"""The rows of an epoch: live ones are encoded by the second, so that its end has little left."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pyarrow.parquet as pq
import pytest

from operators.connectors.delta import pending
from operators.connectors.delta.encoding import GROUP_LEAST, GROUP_ROWS
from operators.connectors.delta.pending import Pending
from operators.records.tables import Table

TABLE = Table("t", {"n": pl.Int64()})


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def groups(rows: Pending) -> list[int]:
    """Return how many rows each row group of the epoch's file has."""
    (file,) = rows.ready([]).content
    told = pq.ParquetFile(io.BytesIO(file.data)).metadata
    return [told.row_group(n).num_rows for n in range(told.num_row_groups)]


def test_live_rows_are_encoded_when_a_second_has_brought_enough(pool, monkeypatch):
    rows = Pending(TABLE, pl.Schema(TABLE.schema), "1", pool)
    half = pl.DataFrame({"n": range(GROUP_LEAST // 2)})
    clock = [time.monotonic()]
    monkeypatch.setattr(pending.time, "monotonic", lambda: clock[0])
    for _ in range(3):
        # Within the second they wait; behind it one frame is too little, and two are enough.
        rows.take(half)
        clock[0] += 1.1
        rows.take(half)
    rows.take(half)
    assert groups(rows) == [GROUP_LEAST, GROUP_LEAST, GROUP_LEAST, half.height]


def test_rows_that_come_fast_are_encoded_as_many_at_once(pool):
    rows = Pending(TABLE, pl.Schema(TABLE.schema), "1", pool)
    for _ in range(4):
        rows.take(pl.DataFrame({"n": range(GROUP_ROWS // 2)}))
    rows.take(pl.DataFrame({"n": range(10)}))
    assert groups(rows) == [GROUP_ROWS, GROUP_ROWS, 10]


def test_what_is_there_as_an_epoch_ends_is_encoded_at_once_and_what_still_comes_behind_it(pool):
    rows = Pending(TABLE, pl.Schema(TABLE.schema), "1", pool)
    rows.hurry()
    rows.take(pl.DataFrame({"n": range(7)}))
    rows.hurry()
    rows.hurry()
    rows.take(pl.DataFrame({"n": range(3)}))
    assert groups(rows) == [7, 3]

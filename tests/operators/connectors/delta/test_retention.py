"""Retention: which rows a table loses, and what it tells of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta.retention import cut_of, retain
from operators.connectors.delta.table import open_table
from operators.records.tables import COORDINATES, TIME, Table

REFUSED = Table("quarantine/some", {**COORDINATES, "kafka_timestamp": TIME}, scattered=())
WINDOWS = Table(
    "gold/some", {"window_end": TIME, "n": pl.Int64()}, fenced="by window", closes="closes"
)
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def made(root: Path, table: Table, rows: list[tuple[object, ...]]) -> DeltaTable:
    handle = open_table(str(root), table)
    frame = pl.DataFrame(rows, schema=dict(table.columns), orient="row")
    stamps = {"flow_version": pl.lit("1"), "written_at": pl.lit(NOW - 5 * DAY).cast(TIME)}
    write_deltalake(handle, frame.with_columns(**stamps), mode="append")
    return DeltaTable(str(root / table.name))


def left(root: Path, table: Table) -> list[tuple[object, ...]]:
    rows = pl.read_delta(str(root / table.name)).select(*table.columns)
    return sorted(row[1:3] if "source_offset" in table.columns else row for row in rows.rows())


def test_rows_by_offset_go_up_to_the_first_of_a_partition_that_is_young(tmp_path: Path) -> None:
    old, young = NOW - 3 * DAY, NOW - DAY
    made(
        tmp_path,
        REFUSED,
        [
            ("it's", 0, 3, old),
            # No younger than the one behind it, but behind one that is.
            ("it's", 0, 5, young),
            ("it's", 0, 9, old),
            ("it's", 1, 4, old),
            # Without a time of Kafka's it is as old as its row.
            ("it's", 1, 7, None),
            ("it's", 2, 1, young),
        ],
    )
    counted = retain(str(tmp_path), REFUSED, 2 * DAY, dry=True)
    assert (counted["rows"], counted["deleted"]) == (3, 0)
    assert len(left(tmp_path, REFUSED)) == 6
    assert cut_of(DeltaTable(str(tmp_path / REFUSED.name))).offsets == {}
    done = retain(str(tmp_path), REFUSED, 2 * DAY, dry=False)
    assert done["deleted"] == 3
    assert left(tmp_path, REFUSED) == [(0, 5), (0, 9), (2, 1)]
    assert cut_of(DeltaTable(str(tmp_path / REFUSED.name))).of("it's") == {0: 4, 1: 7}
    # What was cut before stays told, also of partitions that have no row any more.
    retain(str(tmp_path), REFUSED, timedelta(0), dry=False)
    assert cut_of(DeltaTable(str(tmp_path / REFUSED.name))).of("it's") == {0: 9, 1: 7, 2: 1}
    assert retain(str(tmp_path), REFUSED, timedelta(0), dry=False)["rows"] == 0


def test_windows_go_by_their_end(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    made(tmp_path, WINDOWS, [(now - 3 * DAY, 1), (now - DAY, 2)])
    assert retain(str(tmp_path), WINDOWS, 2 * DAY, dry=False)["deleted"] == 1
    assert [n for _, n in left(tmp_path, WINDOWS)] == [2]
    until = cut_of(DeltaTable(str(tmp_path / WINDOWS.name))).until
    assert until == pytest.approx((now - 2 * DAY).timestamp() * 1e6, abs=60e6)

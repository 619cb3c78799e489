from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb
import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta.parquet import writer_properties
from operators.records.tables import STAMPS, TIME, Table

TABLE = Table(
    "t",
    {
        "day": pl.Date(),
        "source_offset": pl.Int64(),
        "source_partition": pl.Int32(),
        "event_time": TIME,
        "payment_id": pl.String(),
        "card_id": pl.String(),
        "mean": pl.Float64(),
        "good": pl.Boolean(),
    },
    partition_by=("day",),
    scattered=("payment_id", "mean"),
)


def rows(n: int) -> pl.DataFrame:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "day": [date(2026, 1, 1)] * n,
            "source_offset": [None if i % 7 == 0 else (-1) ** i * i * 2**40 for i in range(n)],
            "source_partition": [i % 3 for i in range(n)],
            "event_time": [now + timedelta(microseconds=i * i) for i in range(n)],
            "payment_id": [f"p{i}" for i in range(n)],
            "card_id": [f"c{i % 10}" for i in range(n)],
            "mean": [i / 3 for i in range(n)],
            "good": [i % 2 == 0 for i in range(n)],
            "flow_version": ["1"] * n,
            "written_at": [now] * n,
        },
        schema={**TABLE.columns, **STAMPS},
    )


def test_numbers_are_packed_texts_by_dictionary_and_every_reader_gets_them(tmp_path):
    written = rows(1000)
    write_deltalake(
        tmp_path, written, partition_by=["day"], writer_properties=writer_properties(TABLE)
    )
    (file,) = tmp_path.glob("day=*/*.parquet")
    group = pq.ParquetFile(file).metadata.row_group(0)
    found = {}
    for number in range(group.num_columns):
        column = group.column(number)
        found[column.path_in_schema] = set(column.encodings) - {"RLE"}
    packed = {"source_offset", "source_partition", "event_time", "written_at"}
    assert {n for n, each in found.items() if each == {"DELTA_BINARY_PACKED"}} == packed
    assert {n for n, each in found.items() if "RLE_DICTIONARY" in each} == {
        "card_id",
        "flow_version",
    }
    assert pl.read_delta(str(tmp_path)).select(written.columns).equals(written)
    table = DeltaTable(tmp_path)
    assert pl.from_arrow(table.to_pyarrow_table()).select(written.columns).equals(written)
    with duckdb.connect() as other:
        other.execute("set timezone = 'UTC'")
        got = other.execute(f"select * exclude day from '{file}'").pl()
    assert got.equals(written.drop("day"))


def test_where_a_table_does_not_say_what_hardly_repeats_its_rows_do(tmp_path):
    written = rows(1000).with_columns(card_id=pl.when(good=True).then("card_id"))
    unknown = replace(TABLE, scattered=None)
    assert encodings(tmp_path / "first", written, writer_properties(unknown, written)) == {
        "card_id", "flow_version",
    }  # fmt: skip
    alike = written.with_columns(mean=pl.lit(1.0), payment_id=pl.lit(None, pl.String))
    assert encodings(tmp_path / "alike", alike, writer_properties(unknown, alike)) == {
        "card_id", "flow_version", "mean", "payment_id",
    }  # fmt: skip
    assert writer_properties(unknown) == writer_properties(replace(TABLE, scattered=()))


def encodings(folder, written, properties):
    """Return the columns that are written by dictionary."""
    write_deltalake(folder, written, partition_by=["day"], writer_properties=properties)
    (file,) = folder.glob("day=*/*.parquet")
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = map(group.column, range(group.num_columns))
    return {c.path_in_schema for c in columns if "RLE_DICTIONARY" in c.encodings}

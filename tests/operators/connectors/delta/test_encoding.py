"""Rows that are encoded as they come: read by every engine as they were, with true statistics."""

import io
import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import CommitProperties
from hypothesis import given
from hypothesis import strategies as st

from operators.changes import Changes, merging
from operators.connectors.delta import encoding
from operators.connectors.delta.encoding import Encoder
from operators.connectors.delta.layout import columns_of, laid_out, takes_files
from operators.connectors.delta.writing import write
from operators.records.tables import BUCKET, TIME, Table
from tests.operators.changes.made import BY, FIELDS

TABLE = Table(
    "t",
    {
        "day": pl.Date(),
        "n": pl.Int64(),
        "small": pl.Int8(),
        "at": TIME,
        "text": pl.String(),
        "share": pl.Float64(),
        "good": pl.Boolean(),
        "born": pl.Date(),
        "price": pl.Decimal(12, 2),
        "raw": pl.Binary(),
        "nested": pl.Struct({"x": pl.Int64(), "y": pl.List(pl.String())}),
        "more": pl.List(pl.Int32()),
        "last": pl.Int32(),
    },
    partition_by=("day",),
    scattered=("text",),
)
COLUMNS = pl.Schema(TABLE.schema)
START = datetime(1, 1, 1, tzinfo=UTC)

ROWS = st.fixed_dictionaries(
    {
        "day": st.none() | st.dates(date(2026, 1, 1), date(2026, 1, 3)),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-128, 127),
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "text": st.none() | st.text(max_size=4) | st.text("aé\U0010ffff", min_size=30),
        "share": st.none() | st.floats(),
        "good": st.none() | st.booleans(),
        "born": st.none() | st.dates(),
        "price": st.none() | st.integers(-(10**11), 10**11).map(lambda n: Decimal(n) / 100),
        "raw": st.none() | st.binary(max_size=3),
        "nested": st.none()
        | st.fixed_dictionaries(
            {"x": st.none() | st.integers(0, 9), "y": st.lists(st.text("ab"), max_size=2)}
        ),
        "more": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        "last": st.none() | st.integers(-5, 5),
        "flow_version": st.just("1"),
        "written_at": st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    }
)


def frame(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COLUMNS, strict=False)


def made(root, table=TABLE) -> DeltaTable:
    schema = pl.DataFrame(schema=table.schema).to_arrow(compat_level=pl.CompatLevel.oldest())
    uri = str(root / "t")
    return DeltaTable.create(
        uri, Schema.from_arrow(schema.schema), partition_by=list(table.partition_by)
    )


def add(handle: DeltaTable, files, table=TABLE) -> None:
    """Commit files as a writer would."""
    properties = CommitProperties()
    write(handle, table, files, columns_of(handle), properties)


def ordered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in an order of their own, NaN and what is nested as text."""
    texts = rows.with_columns(
        pl.Series(name, [repr(each) for each in rows[name].to_list()], pl.String())
        for name in ("nested", "more", "share")
    )
    return texts.select(sorted(texts.columns)).sort(pl.all())


@given(st.lists(st.lists(ROWS, max_size=6), min_size=1, max_size=5), st.integers(1, 9))
def test_what_comes_in_batches_is_read_as_it_was(tmp_path_factory, batches, group_rows):
    frames = [frame(rows) for rows in batches]
    encoder = Encoder(TABLE, COLUMNS, group_rows=group_rows)
    for each in frames:
        encoder.add(each)
    files, whole = encoder.finish(), pl.concat(frames)
    assert encoder.finish() == []
    assert len(files) == whole["day"].n_unique()
    handle = made(tmp_path_factory.mktemp("t"))
    add(handle, files)
    assert handle.version() == 1
    assert ordered(pl.read_delta(handle)).equals(ordered(whole))
    for file in files:
        hold_to(file, whole)
    day = date(2026, 1, 2)
    found = pl.scan_delta(handle).filter(pl.col("day") == day, pl.col("last") > 0).collect()
    assert ordered(found).equals(
        ordered(whole.filter(pl.col("day") == day, pl.col("last") > 0))
    )


def hold_to(file: encoding.Encoded, whole: pl.DataFrame) -> None:
    """Hold a file's statistics to its rows: no bound is narrower than the values."""
    told = json.loads(file.statistics)
    day = pl.lit(file.partition["day"], pl.Date())
    rows = whole.filter(pl.col("day").eq_missing(day))
    assert told["numRecords"] == rows.height
    for name, count in told["nullCount"].items():
        assert count == rows[name].null_count()
    assert told["minValues"].keys() == told["maxValues"].keys()
    for name, low in told["minValues"].items():
        values, high = rows[name].drop_nulls().to_list(), told["maxValues"][name]
        if name in ("at", "written_at"):
            low, high = map(datetime.fromisoformat, (low, high))
        if name == "born":
            low, high = map(date.fromisoformat, (low, high))
        assert all(low <= each <= high for each in values), (name, low, high)
    # What can be told is.
    if rows["n"].drop_nulls().len():
        assert told["minValues"]["n"] == rows["n"].min()
    shares = rows["share"].drop_nulls().to_list()
    assert ("share" in told["minValues"]) == (
        bool(shares) and all(math.isfinite(each) for each in shares)
    )
    assert not {"raw", "price", "nested", "more", "day"} & told["minValues"].keys()


def test_times_and_days_of_no_calendar_are_kept_and_have_no_bounds(tmp_path):
    rows = frame([{"at": START, "born": date(1, 1, 1), "n": 1}] * 2)
    beyond = rows.with_columns(
        pl.lit(-(2**62), pl.Int64()).cast(TIME).alias("at"),
        pl.lit(2**30, pl.Int32()).cast(pl.Date).alias("born"),
    )
    encoder = Encoder(TABLE, COLUMNS)
    encoder.add(pl.concat([rows, beyond]))
    (file,) = encoder.finish()
    assert json.loads(file.statistics)["minValues"].keys() == {"n"}
    assert pl.read_parquet(file.data)["at"].to_physical().min() == -(2**62)


def test_the_log_says_what_deltalake_would_of_what_both_tell(tmp_path):
    now = datetime(2026, 1, 1, 12, 0, 0, 123_456, UTC)
    rows = frame(
        [
            {"day": date(2026, 1, 1), "n": i * 2**55, "small": i, "text": f"t{i}", "share": i / 3,
             "good": i > 2, "born": date(2026, 1, 1 + i), "at": now + timedelta(seconds=i),
             "last": i, "flow_version": "1", "written_at": now}
            for i in range(1, 9)
        ]
    )  # fmt: skip
    encoder = Encoder(TABLE, COLUMNS)
    encoder.add(rows)
    (file,) = encoder.finish()
    handle = made(tmp_path)
    properties = CommitProperties()
    write(handle, TABLE, rows, COLUMNS, properties)
    (log,) = (tmp_path / "t" / "_delta_log").glob("*1.json")
    (theirs,) = (
        json.loads(each["add"]["stats"])
        for each in map(json.loads, log.read_text().splitlines())
        if "add" in each
    )
    ours = json.loads(file.statistics)
    for what in ("minValues", "maxValues", "nullCount"):
        both = ours[what].keys() & theirs[what].keys()
        assert both >= {"n", "small", "text", "share", "good", "born", "at", "last"}
        assert {n: ours[what][n] for n in both} == {n: theirs[what][n] for n in both}
    assert ours["numRecords"] == theirs["numRecords"]


def test_row_groups_are_encoded_while_rows_come_and_files_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(encoding, "FILE_BYTES", 20_000)
    encoder = Encoder(TABLE, COLUMNS, group_rows=1_000)
    for batch in range(20):
        numbers = range(500 * batch, 500 * (batch + 1))
        encoder.add(frame([{"n": i * 7_919_919_919 % 2**40, "text": f"{i}"} for i in numbers]))
    files = encoder.finish()
    assert len(files) > 2
    groups = [pq.ParquetFile(io.BytesIO(file.data)).metadata for file in files]
    assert sum(each.num_rows for each in groups) == 10_000
    assert {
        each.row_group(g).num_rows for each in groups for g in range(each.num_row_groups)
    } == {1_000}


def test_numbers_are_packed_texts_by_dictionary_and_other_engines_read_them(tmp_path):
    rows = frame(
        [
            {"day": date(2026, 1, 1), "n": i, "text": f"t{i}", "flow_version": "1", "last": i % 3,
             "nested": {"x": i, "y": ["a", "b"]}, "more": [i, None], "share": i / 7}
            for i in range(1_000)
        ]
    )  # fmt: skip
    encoder = Encoder(TABLE, COLUMNS)
    encoder.add(rows)
    handle = made(tmp_path)
    add(handle, encoder.finish())
    (path,) = handle.file_uris()
    group = pq.ParquetFile(path.removeprefix("file://")).metadata.row_group(0)
    found = {
        group.column(i).path_in_schema: set(group.column(i).encodings) - {"RLE", "PLAIN"}
        for i in range(group.num_columns)
    }
    packed = {"n", "small", "at", "last", "written_at"}
    assert {n for n, each in found.items() if each == {"DELTA_BINARY_PACKED"}} == packed
    assert "RLE_DICTIONARY" in found["flow_version"]
    assert found["text"] == set()
    with duckdb.connect() as other:
        sql = f"select n, text, nested, more from '{path}' where n >= 998"
        expected = rows.filter(pl.col("n") >= 998).select("n", "text", "nested", "more")
        assert other.execute(sql).pl().to_dicts() == expected.to_dicts()
    table = handle.to_pyarrow_table(filters=[("n", ">=", 998)])
    assert sorted(table["n"].to_pylist()) == [998, 999]


def test_what_is_encoded_is_held_to_a_constraint_that_has_come_since(tmp_path):
    encoder = Encoder(TABLE, COLUMNS)
    good = frame([{"day": None, "n": 1}, {"day": date(2026, 1, 1), "n": 2, "text": "a"}])
    encoder.add(good)
    files = encoder.finish()
    handle = made(tmp_path)
    assert takes_files(handle, TABLE)
    handle.alter.add_constraint({"whole": "n >= 0"})
    assert not takes_files(handle, TABLE)
    add(handle, files)
    assert ordered(pl.read_delta(handle)).equals(ordered(good))
    encoder.add(laid_out(frame([{"n": -1}]), COLUMNS))
    with pytest.raises(DeltaError, match="failed validation check"):
        add(handle, encoder.finish())


def test_a_commit_of_no_rows_is_one_whatever_the_table_takes(tmp_path):
    """As where what a table accounts for is told again."""
    plain, bound, merged = (tmp_path / each for each in ("plain", "bound", "merged"))
    changes = merging(Changes(BY, "version", "current", buckets=4), FIELDS)
    of_changes = replace(
        TABLE, columns=changes.columns, partition_by=(BUCKET,), merging=changes
    )
    for root, table in ((plain, TABLE), (bound, TABLE), (merged, of_changes)):
        handle = made(root, table)
        if root == bound:
            handle.alter.add_constraint({"whole": "n >= 0"})
        version = handle.version()
        add(handle, [], table)
        assert DeltaTable(handle.table_uri).version() == version + 1
        assert pl.read_delta(handle.table_uri).height == 0

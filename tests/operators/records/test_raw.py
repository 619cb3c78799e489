from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records.batches import Progress, RawBatch
from operators.records.columns import HEADERS, RAW_COLUMNS, REJECT_COLUMNS
from operators.records.raw import coordinates, ingested, picked, refused
from operators.records.rejects import Refusal

maybe_bytes = st.one_of(st.none(), st.binary(max_size=5))
headers = st.one_of(
    st.none(), st.lists(st.tuples(st.text(max_size=3), maybe_bytes), max_size=3)
)
records = st.lists(
    st.tuples(maybe_bytes, maybe_bytes, headers, st.integers(-1, 2**45)), max_size=8
)


def raw_of(given_records, first=5) -> RawBatch:
    n = len(given_records)
    columns = zip(*given_records, strict=True) if n else ([], [], [], [])
    keys, values, heads, stamps = map(list, columns)
    return RawBatch(
        Progress("payments", 3, 4, first + n - 1),
        np.arange(first, first + n, dtype=np.int64),
        np.array(stamps, np.int64),
        keys, values, heads,
    )  # fmt: skip


@given(records)
def test_every_record_is_a_row_as_it_came(given_records):
    frame = ingested([raw_of(given_records)])
    assert dict(frame.schema) == RAW_COLUMNS
    assert frame.with_columns(pl.col("kafka_timestamp").to_physical()).rows() == [
        (
            "payments", 3, 5 + i, None if stamp < 0 else stamp * 1000, key, value,
            heads if heads is None else [{"key": k, "value": v} for k, v in heads],
        )
        for i, (key, value, heads, stamp) in enumerate(given_records)
    ]  # fmt: skip


@given(records, st.integers(0, 8))
def test_a_row_does_not_depend_on_its_batch(given_records, cut):
    whole = ingested([raw_of(given_records)])
    parts = [
        ingested([raw_of(given_records[:cut])]),
        ingested([raw_of(given_records[cut:], 5 + cut)]),
    ]
    if cut <= len(given_records):
        assert pl.concat(parts).equals(whole)
        raws = [raw_of(given_records[:cut]), raw_of(given_records[cut:], 5 + cut)]
        assert ingested(raws).equals(whole)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (-1, None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (253_402_300_799_999, datetime(9999, 12, 31, 23, 59, 59, 999000, UTC)),
        (253_402_300_800_000, None),
        (9_223_372_036_854_775, None),
        (2**62, None),
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_a_timestamp_that_is_no_time_is_unknown(stamp, expected):
    # Delta panics on times past the year 262142, and a flow that does so never gets on.
    frame = ingested([raw_of([(None, None, None, stamp), (None, None, None, 0)])])
    assert frame["kafka_timestamp"][0] == expected
    assert frame["kafka_timestamp"][1].year == 1970


def test_no_records_are_no_rows_with_all_columns():
    empty = RawBatch(Progress("payments", 0, 1))
    assert dict(ingested([empty]).schema) == RAW_COLUMNS
    assert dict(refused([empty], []).schema) == REJECT_COLUMNS
    assert [series.name for series in coordinates([empty])] == list(RAW_COLUMNS)[:4]


def test_a_refusal_is_a_row_with_its_record_and_the_reason():
    raw = raw_of(
        [(b"k0", b"v0", None, 7), (None, b"\xff", [("h", b"1")], -1), (b"k2", None, [], 9)]
    )
    frame = refused(
        [raw_of([(b"k", b"", None, 1)] * 2, 3), raw],
        [
            Refusal(3, "decode", "no_magic", "x", "7"),
            Refusal(4, "contract", "amount_range", "too much"),
        ],
    )
    assert dict(frame.schema) == REJECT_COLUMNS
    assert frame["source_offset"].to_list() == [6, 7]
    first, second = frame.to_dicts()
    assert second["headers"] == []
    assert first == {
        "source_topic": "payments", "source_partition": 3, "source_offset": 6,
        "stage": "decode", "code": "no_magic", "message": "x", "schema_id": "7",
        "kafka_timestamp": None, "key": None, "value": b"\xff",
        "headers": [{"key": "h", "value": b"1"}],
    }  # fmt: skip
    assert frame["headers"].dtype == HEADERS


@given(st.sets(st.integers(0, 99), max_size=99), st.booleans())
def test_those_picked_are_the_same_by_runs_and_one_by_one(some, others):
    raw = raw_of([(b"k%d" % n, b"%d" % n, [("h", b"%d" % n)], n) for n in range(100)])
    rows = sorted({*range(100)} - some) if others else sorted(some)
    found = picked(raw, np.array(rows, np.int64))
    assert found.progress == raw.progress
    assert found.offsets.tolist() == [5 + n for n in rows]
    assert found.timestamps.tolist() == rows
    for column in ("keys", "values", "headers"):
        assert getattr(found, column) == [getattr(raw, column)[n] for n in rows]

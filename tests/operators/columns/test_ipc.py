import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.ipc import from_ipc, joined, to_ipc, types_to_ipc

SCHEMA = {
    "text": pl.String,
    "number": pl.Int64,
    "hash": pl.UInt64,
    "at": pl.Datetime("us", "UTC"),
    "several": pl.List(pl.String),
    "place": pl.Struct({"a": pl.Int64, "b": pl.String}),
}
PLACES = st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.none() | st.text(max_size=3)})
ROWS = st.tuples(
    st.none() | st.text(max_size=20),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.none() | st.datetimes(),
    st.none() | st.lists(st.text(max_size=3), max_size=3),
    st.none() | PLACES,
)  # fmt: skip


def frame(rows: list) -> pl.DataFrame:
    return pl.DataFrame(rows, SCHEMA, orient="row")


@given(st.lists(st.lists(ROWS, max_size=5), max_size=4))
def test_frames_come_back_as_one(parts):
    state = to_ipc(*map(frame, parts), None)
    rows = [row for part in parts for row in part]
    if not rows:
        assert state is None
    else:
        assert from_ipc(state).equals(frame(rows))


@given(st.lists(st.lists(ROWS, min_size=1, max_size=5), max_size=4))
def test_what_was_written_apart_is_one(parts):
    state = joined([to_ipc(frame(part)) for part in parts])
    if not parts:
        assert state is None
    else:
        assert from_ipc(state).equals(frame([row for part in parts for row in part]))


def test_what_was_written_with_other_texts_is_one_all_the_same():
    """Texts within lists are written by offsets, and others as views where nothing is nested."""
    rows = pl.DataFrame({"text": ["a text of more than twelve bytes", "b"]})
    offsets = rows.write_ipc_stream(None, compat_level=pl.CompatLevel.oldest()).getvalue()
    assert from_ipc(joined([to_ipc(rows), offsets])).equals(pl.concat([rows, rows]))


def test_columns_and_types_alone_have_no_row():
    kept = from_ipc(types_to_ipc(frame([("a", 1, 2, None, None, None)])))
    assert kept.schema == frame([]).schema
    assert kept.height == 0


def test_integers_of_128_bits_come_back_as_decimals():
    wide = pl.DataFrame({"sum": pl.Series([2**100, None, -(2**100)], dtype=pl.Int128)})
    kept = from_ipc(to_ipc(wide))
    assert kept.schema == {"sum": pl.Decimal(38, 0)}
    assert kept["sum"].cast(pl.Int128).equals(wide["sum"])


def test_a_few_rows_do_not_bring_along_the_texts_of_those_that_they_were_picked_from():
    texts = pl.Series("text", [f"a text of more than twelve bytes, {n}" for n in range(10_000)])
    nested = pl.DataFrame(
        [
            texts,
            texts.reshape((10_000, 1)).arr.to_list().alias("several"),
            pl.DataFrame([texts]).to_struct("place"),
        ]
    )
    few = nested[np.arange(0, 10_000, 1_000)]
    assert from_ipc(to_ipc(few)).equals(few)
    assert len(to_ipc(few)) < 4_000

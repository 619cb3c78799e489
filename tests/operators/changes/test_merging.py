"""Tables of changes come to the same, whatever order the changes came in and however cut."""

from datetime import timedelta
from itertools import pairwise
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.changes import Changes, merging
from operators.records.tables import STAMPS, TIME
from tests.operators.changes.made import BY, FIELDS, NOON, STAMPED, change
from tests.operators.changes.oracle import current, history, sorted_rows

ORACLES = {"current": current, "history": history}

changes = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(0, 6)),
        st.integers(0, 8),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
).map(lambda each: [change(n, k, q, at, deleted=d) for n, (k, q, at, d) in enumerate(each)])


def arrivals(made: list[dict], order: Random) -> list[dict]:
    """Return the changes as they may come: partition by partition in order, some over again."""
    queues = [[each for each in made if each["source_partition"] == p] for p in (0, 1)]
    sent, places = [], [0, 0]
    while any(at < len(mine) for at, mine in zip(places, queues, strict=True)):
        if order.random() < 0.1:
            # As after a crash: from some place on all over again.
            places = [order.randint(0, at) for at in places]
        partition = order.randrange(2)
        if places[partition] < len(queues[partition]):
            sent.append(queues[partition][places[partition]])
            places[partition] += 1
    return sent


@pytest.mark.parametrize("keeps", ORACLES)
@given(
    made=changes,
    order=st.randoms(use_true_random=False),
    cuts=st.sets(st.integers(1, 40), max_size=4),
)
def test_any_cut_and_order_comes_to_what_the_set_of_changes_is(keeps, made, order, cuts):
    sent = arrivals(made, order)
    kept = merging(Changes(BY, "version", keeps, buckets=4), FIELDS)
    there = pl.DataFrame(schema={**kept.columns, **STAMPS})
    edges = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    for first, end in pairwise(edges):
        some = pl.DataFrame(sent[first:end], schema=STAMPED)
        touched = pl.col("bucket").is_in(kept.bucket_of(some).unique().to_list())
        merged = kept.merged(there.filter(touched), some)
        there = pl.concat([there.filter(~touched), merged.select(there.columns)])
    expected = pl.DataFrame(
        ORACLES[keeps](made, BY),
        schema={n: t for n, t in kept.columns.items() if n != "bucket"} | STAMPS,
    )
    found = there.drop("bucket", *STAMPS)
    assert sorted_rows(found).equals(sorted_rows(expected.drop(*STAMPS).select(found.columns)))
    assert there["bucket"].to_list() == kept.bucket_of(there).to_list()


def test_a_late_change_splits_the_interval_that_it_falls_into():
    kept = merging(Changes(("customer_id",), "version", "history"), FIELDS)
    none = pl.DataFrame(schema={**kept.columns, **STAMPS})
    first = [change(0, 0, 1, 0), change(2, 0, 3, 30), change(4, 0, 4, 40, deleted=True)]
    rows = kept.merged(none, pl.DataFrame(first, schema=STAMPED))
    rows = kept.merged(rows, pl.DataFrame([change(6, 0, 2, 10)], schema=STAMPED))
    spans = rows.sort("change_sequence").select(
        (pl.col("effective_from", "effective_to") - NOON).dt.total_seconds(), "is_current"
    )
    assert spans.rows() == [
        (0, 10, False), (10, 30, False), (30, 40, False), (40, None, False)
    ]  # fmt: skip
    rows = kept.merged(rows, pl.DataFrame([change(8, 0, 5, 35)], schema=STAMPED))
    assert rows.filter("is_current")["segment"].to_list() == ["s8"]
    # Its clock is behind: it is valid from where the row before it was.
    assert rows.filter("is_current")["effective_from"].to_list() == [
        NOON + timedelta(seconds=40)
    ]


def test_what_is_not_touched_stays_as_it_was_written():
    kept = merging(Changes(("customer_id",), "version"), FIELDS)
    none = pl.DataFrame(schema={**kept.columns, **STAMPS})
    both = pl.DataFrame([change(0, 0, 1, 0), change(1, 1, 1, 0)], schema=STAMPED)
    rows = kept.merged(none, both)
    later = both[1:].with_columns(
        written_at=pl.lit(NOON + timedelta(days=1), TIME), change_sequence=pl.lit(2, pl.Int64)
    )
    written = dict(kept.merged(rows, later).select("customer_id", "written_at").iter_rows())
    assert written == {"c0": NOON, "c1": NOON + timedelta(days=1)}


@pytest.mark.parametrize("keeps", ORACLES)
def test_columns_that_are_no_fields_any_more_stay_with_the_rows_that_have_them(keeps):
    kept = merging(Changes(("customer_id",), "version", keeps), FIELDS)
    none = pl.DataFrame(schema={**kept.columns, **STAMPS})
    rows = kept.merged(none, pl.DataFrame([change(0, 0, 1, 0)], schema=STAMPED))
    theirs = rows.with_columns(theirs=pl.lit("kept"))
    made = [change(1, 1, 1, 0), change(2, 0, 0, 0), change(4, 0, None, 50), change(6, 0, 0, 60)]
    again = kept.merged(theirs, pl.DataFrame(made, schema=STAMPED))
    with_it = again.filter(theirs="kept")
    assert with_it.select("customer_id", "change_sequence").rows() == [("c0", 1)]
    assert again.height > 1


def test_a_tombstone_deletes_what_was_before_it_and_not_what_comes_behind_it_late():
    """A connector that is an hour behind sends a deletion, its tombstone, and a new row of old."""
    sent = [
        change(0, 0, 1, 0), change(2, 0, 2, 5, deleted=True), change(4, 0, None, 3600),
        change(6, 0, 3, 10),
    ]  # fmt: skip
    rows = pl.DataFrame(sent, schema=STAMPED)
    kept = merging(Changes(("customer_id",), "version"), FIELDS)
    none = pl.DataFrame(schema={**kept.columns, **STAMPS})
    assert kept.merged(none, rows)["deleted"].to_list() == [False]
    assert kept.merged(none, rows[:3])["deleted"].to_list() == [True]
    # Without the deletion, which compaction may take, the tombstone is all there is of it.
    alone = kept.merged(kept.merged(none, rows[:1]), rows[2:3])
    assert alone.select("deleted", "segment").rows() == [(True, None)]
    kept = merging(Changes(("customer_id",), "version", "history"), FIELDS)
    none = pl.DataFrame(schema={**kept.columns, **STAMPS})
    spans = (
        kept.merged(none, rows)
        .sort("source_offset")
        .select((pl.col("effective_from", "effective_to") - NOON).dt.total_seconds())
    )
    assert spans.rows() == [(0, 5), (5, 10), (10, 10), (10, None)]


def test_a_field_may_not_have_the_name_of_a_column_of_the_tables_own():
    with pytest.raises(ValueError, match="own columns: bucket, is_current"):
        merging(Changes(BY, "version"), FIELDS | {"is_current": TIME, "bucket": TIME})

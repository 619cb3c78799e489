"""Overlapping windows in NumPy: the same panes as by groups, and where numbers do not do."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records.batches import END_OF_INPUT, Progress
from operators.windows import OpenWindows, Windows, agg, sliding
from operators.windows.sliding_panes import Overlap, codes
from tests.operators.windows.model import Record, frame

WINDOWS = Windows(
    ("key",),
    sliding(60, every=20),
    {
        "payments": agg.count(),
        "total": agg.sum("amount"),
        "mean": agg.mean("amount"),
        "least": agg.min("amount"),
        "most": agg.max("amount"),
        "cards": agg.distinct("card", exact=3),
    },
)


def panes(records: list[Record], *, by_numbers: bool) -> pl.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        if not by_numbers:
            patch.setattr(Overlap, "fits", lambda *_: False)
        opened = OpenWindows(WINDOWS)
        made = [
            opened.advance([Progress("t", 0, 1, 0, at)], rows).panes
            for at, rows in ((50, WINDOWS.judge(frame(records)).rows), (END_OF_INPUT, None))
        ]
    return pl.concat(each for each in made if each is not None).sort("key", "window_start")


AMOUNTS = st.one_of(st.integers(-5, 5), st.just(2**61), st.just(-(2**62)), st.none())


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(-50, 150), AMOUNTS), min_size=1),
    st.sampled_from(["u", "uv", "uvwxy"]),
)
def test_panes_are_those_of_a_group_by(drawn, cards):
    records = [
        Record(0, offset, key, time, amount, cards[offset % len(cards)], -(10**6))
        for offset, (key, time, amount) in enumerate(drawn)
    ]
    assert panes(records, by_numbers=True).equals(panes(records, by_numbers=False))


@pytest.mark.parametrize(
    ("amounts", "cards", "numbers_do"),
    [
        ([1, 2, 3], "uvw", True),
        ([1, None, 3], "uvw", False),
        ([2**61, 1, 1], "uvw", False),
        ([1, 2, 3, 4], "uvwx", False),
    ],
)
def test_what_numbers_cannot_tell_is_left_to_groups(
    amounts, cards, numbers_do, monkeypatch: pytest.MonkeyPatch
):
    answers = []
    panes_of = Overlap.panes
    monkeypatch.setattr(
        Overlap,
        "panes",
        lambda *args: answers.append(found := panes_of(*args)) or found,
    )
    records = [
        Record(0, i, "a", 10 + i, a, c, -100)
        for i, (a, c) in enumerate(zip(amounts, cards, strict=True))
    ]
    panes(records, by_numbers=True)
    assert [found is not None for found in answers] == [numbers_do] * len(answers)
    assert answers


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 2)), min_size=1))
def test_equal_rows_have_equal_codes(rows):
    columns = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int64}, orient="row")
    hashes = np.array([hash(row) & 0xFFFF for row in rows], np.uint64)
    found = codes(hashes, columns)
    assert found is not None
    assert [[a == b for a in found] for b in found] == [[a == b for a in rows] for b in rows]


def test_keys_that_share_a_hash_have_no_codes():
    assert codes(np.array([7, 7], np.uint64), pl.DataFrame({"a": ["x", "y"]})) is None

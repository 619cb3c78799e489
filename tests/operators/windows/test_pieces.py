import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns import ipc
from operators.columns.ipc import from_ipc
from operators.windows import pieces as module
from operators.windows.pieces import Pieces, Written
from tests.operators.columns.held import held
from tests.operators.windows.soon import full

ACTS = st.one_of(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.sampled_from(["ahead", "dump", "take all"]),
    st.integers(0, 9),
)


@given(st.lists(ACTS, max_size=30), st.booleans())
def test_any_acts_are_those_on_a_list(acts, soon):
    """Rows are added, those above a number taken or picked, all taken, dumped and resumed."""
    pieces, there = Pieces(), list[int]()
    with full(soon):
        for act in acts:
            if isinstance(act, list):
                pieces.add(pl.DataFrame({"n": act}))
                there += act
            elif act == "take all":
                taken = pieces.take_all()
                assert ([] if taken is None else taken["n"].to_list()) == there
                there = []
            elif act == "ahead":
                pieces.ahead()
            elif act == "dump":
                state = pieces.dump()
                assert ([] if state is None else from_ipc(state)["n"].to_list()) == there
                pieces = Pieces.load(state)
            else:
                found = pieces.picked(lambda rows, n=act: rows["n"].to_numpy() > n)
                assert numbers(found) == [n for n in there if n > act]
                found = pieces.take(lambda rows, n=act: rows["n"].to_numpy() > n)
                assert numbers(found) == [n for n in there if n > act]
                there = [n for n in there if n <= act]
            assert numbers(pieces.frames) == there
            assert pieces.height == len(there)


def numbers(frames: list[pl.DataFrame]) -> list[int]:
    return [n for frame in frames for n in frame["n"].to_list()]


def test_what_has_been_written_is_not_written_again(monkeypatch):
    written: list[int] = []
    stream = ipc._stream
    monkeypatch.setattr(
        ipc, "_stream", lambda rows: written.append(rows.height) or stream(rows)
    )
    pieces = Pieces()
    for size in (3, 2):
        pieces.add(pl.DataFrame({"n": range(size)}))
        pieces.dump()
        pieces.dump()
    assert written == [3, 2]
    pieces.take(lambda rows: np.arange(rows.height) == 2)
    pieces.dump()
    assert written == [3, 2, 2]


@pytest.mark.parametrize(("few", "many"), [(4, 1_000), (1_000, 8)])
def test_many_frames_or_rows_are_written_before_anybody_asks(monkeypatch, few, many):
    written: list[int] = []
    stream = ipc._stream
    monkeypatch.setattr(
        ipc, "_stream", lambda rows: written.append(rows.height) or stream(rows)
    )
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_MANY", many)
    pieces = Pieces()
    for _ in range(9):
        pieces.add(pl.DataFrame({"n": [1, 2]}))
        pieces.ahead()
    assert written == [8, 8]
    assert len(pieces.frames) == 3
    pieces.dump()
    assert written == [8, 8, 2]


def test_what_is_kept_holds_no_texts_of_rows_that_are_gone():
    batch = pl.DataFrame(
        {"text": [f"a text of more than twelve bytes, {n}" for n in range(1000)]}
    )
    pieces = Pieces()
    pieces.add(batch[:2])
    pieces.add(batch)
    pieces.take(lambda rows: np.arange(rows.height) > 1)
    pieces.dump()
    assert pieces.height == 4
    assert held(pieces) < 1000


def test_a_frame_that_is_given_back_is_not_written_again(monkeypatch):
    sizes: list[int] = []
    stream = ipc._stream
    monkeypatch.setattr(ipc, "_stream", lambda rows: sizes.append(rows.height) or stream(rows))
    written = Written()
    assert written.dump(None) == (None, None)
    kept, state = written.dump(pl.DataFrame({"n": [1, 2]}))
    assert written.dump(kept) == (kept, state)
    assert sizes == [2]
    kept, state = written.dump(kept[:1])
    assert from_ipc(state)["n"].to_list() == kept["n"].to_list() == [1]
    assert written.dump(None) == (None, None)

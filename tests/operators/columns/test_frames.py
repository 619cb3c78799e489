"""Each function does what Polars' own does, without its thread."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from operators.columns.frames import alike, filtered, in_one, in_one_chunk, stacked, taken
from tests.operators.columns.held import held

FRAME = pl.DataFrame(
    {
        "n": [3, None, 1, 2],
        "t": ["a", "", None, "ü"],
        "l": [[1], [], None, [2, 3]],
        "s": [{"k": "x", "v": b"1"}, None, {"k": None, "v": b""}, {"k": "y", "v": None}],
    }
)


@pytest.mark.parametrize("rows", [[], [0], [3, 1, 1, 0], [0, 1, 2, 3]])
def test_taken(rows):
    places = np.array(rows, np.int64)
    assert_frame_equal(taken(FRAME, places), FRAME[places])


@pytest.mark.parametrize("name", ["n", "t"])
@pytest.mark.parametrize("nulls", [True, False])
def test_alike(name, nulls):
    column = FRAME[name] if nulls else FRAME[name].drop_nulls()
    other = column.reverse()
    assert alike(column, other).tolist() == column.eq_missing(other).to_list()
    assert alike(column, column).all()
    assert alike(column[:0], column[:0]).tolist() == []


@pytest.mark.parametrize("mask", [[False] * 4, [True, False, True, False], [True] * 4])
def test_filtered(mask):
    picked = pl.Series(mask, dtype=pl.Boolean)
    assert_frame_equal(filtered(FRAME, picked), FRAME.filter(picked))


@pytest.mark.parametrize("frames", [[FRAME], [FRAME, FRAME.clear(), FRAME.head(2)]])
def test_stacked(frames):
    assert_frame_equal(stacked(frames), pl.concat(frames))


def test_what_is_stacked_is_left_as_it_was():
    first, before = FRAME.clone(), FRAME.clone()
    stacked([first, FRAME, FRAME])
    assert_frame_equal(first, before)
    assert first.n_chunks() == 1


def test_frames_of_other_columns_are_not_stacked():
    with pytest.raises(ValueError, match="columns"):
        stacked([FRAME, FRAME.rename({"n": "m"})])
    with pytest.raises(ValueError, match="columns"):
        stacked([FRAME, FRAME[["t", "n", "l", "s"]]])
    with pytest.raises(ValueError, match="columns"):
        stacked([FRAME, FRAME[["n", "t"]]])
    with pytest.raises(pl.exceptions.SchemaError):
        stacked([FRAME, FRAME.with_columns(pl.col("n").cast(pl.String))])


def test_in_one_chunk():
    whole = in_one_chunk(pl.concat([FRAME, FRAME]))
    assert whole.n_chunks("all") == [1] * 4
    assert_frame_equal(whole, pl.concat([FRAME, FRAME]))


def test_no_other_thread_is_waited_for():
    program = """
import resource
import flows, numpy as np, polars as pl
from operators.columns import frames

frame = pl.DataFrame({f"c{i}": np.arange(500) for i in range(20)})
places, mask = np.arange(0, 500, 2), pl.Series(np.arange(500) % 2 == 0)

def waits(work):
    work()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    for _ in range(100):
        work()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

print(waits(lambda: frame.filter(mask)))
for work in (
    lambda: frames.filtered(frame, mask),
    lambda: frames.taken(frame, places),
    lambda: frames.in_one_chunk(frames.stacked([frame, frame])),
):
    print(waits(work))
"""
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    polars, *ours = map(int, out.stdout.split())
    assert polars > 20, "Polars waits no more: operators.columns.frames can go"
    assert max(ours) < 20


@pytest.mark.parametrize("how", ["of Polars' own", "in_one_chunk"])
def test_a_frame_in_pieces_is_pickled_while_polars_thread_waits_for_the_interpreter(how):
    """As between the processes of a cluster, where another thread has tables encoded meanwhile."""
    program = """
import pickle, sys, threading
import flows, polars as pl
from operators.columns.frames import pickle_in_one_chunk

if sys.argv[1] == "in_one_chunk":
    pickle_in_one_chunk()
pieces = pl.concat([pl.DataFrame({"n": [1, 2], "t": ["a", "b"]})] * 2, rechunk=False)
assert pieces.n_chunks() == 2
at_it, may_end = threading.Event(), threading.Event()

def slow(column):
    at_it.set()
    may_end.wait()
    return column

def occupy():
    some = pl.DataFrame({"a": [1], "b": [2]})
    some.with_columns(pl.col("a").map_batches(slow, pl.Int64), pl.col("b") + 1)

other = threading.Thread(target=occupy, daemon=True)
other.start()
at_it.wait()
threading.Timer(0.5, may_end.set).start()
again = pickle.loads(pickle.dumps(pieces))
assert again.equals(pieces)
assert pickle.loads(pickle.dumps(again)).equals(pieces)
other.join()
"""
    command = [sys.executable, "-c", program, how]
    if how == "in_one_chunk":
        subprocess.run(command, check=True, timeout=120)
        return
    # If it comes to an end, `pickle_in_one_chunk` can go.
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, check=True, timeout=15)


def test_in_one_piece_is_what_was_put_together():
    frames = [FRAME, FRAME.clear(), FRAME.head(2)]
    made = in_one(frames)
    assert_frame_equal(made, pl.concat(frames))
    assert made.n_chunks() == 1


def test_in_one_piece_nothing_is_held_but_the_texts_that_are_there():
    texts = pl.Series("t", [f"a text of more than twelve bytes, {n}" for n in range(10_000)])
    batch = pl.DataFrame([texts, pl.DataFrame([texts]).to_struct("s")])
    few = taken(batch, np.arange(0, 10_000, 1_000))
    assert held(few) > 700_000
    assert held(in_one([few, few])) < 4_000


def test_polars_has_found_numpy_before_there_are_several_threads():
    # In a process of its own, as in this one somebody has made a column of an array by now.
    found = (
        "import types, operators.columns.frames, polars._dependencies as found;"
        "assert type(found.numpy) is types.ModuleType"
    )
    subprocess.run([sys.executable, "-c", found], check=True)

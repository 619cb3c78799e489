"""Frames: what Polars does with all columns at once, column by column in this thread.

Polars hands work on several columns over to a thread of its own, even if it is the only one,
and waits for it. Of a small batch that is most of the time, and on busy cores the wait for the
other thread's turn is milliseconds.
"""

import copyreg
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

# Polars looks for NumPy when it first meets an array, and where two threads of workers do so at
# once, one of them fails.
pl.Series(np.empty(0))


def taken(frame: pl.DataFrame, rows: npt.NDArray[np.integer]) -> pl.DataFrame:
    """Return rows by their places, shape (n,), not negative; as `frame[rows]`."""
    places = pl.Series(rows.astype(np.uint32))
    # In pieces, each place is first looked for among them: ten times the work.
    return pl.DataFrame([column.rechunk()[places] for column in frame.get_columns()])


def filtered(frame: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """Return the rows that a mask without nulls picks; as `frame.filter(mask)`."""
    return pl.DataFrame([column.filter(mask) for column in frame.get_columns()])


def stacked(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of one or more frames; as `pl.concat(frames)`.

    Raises ValueError if they do not have the same columns in the same order, and
    polars.exceptions.SchemaError if these are of different types.
    """
    first, *others = frames
    if not others:
        return first
    # Not column by column: of a hundred small frames that takes four times as long.
    rows = first.clone()
    for frame in others:
        try:
            rows.vstack(frame, in_place=True)
        except pl.exceptions.ShapeError as error:
            raise ValueError(
                f"not all frames have the columns {', '.join(first.columns)}"
            ) from error
    return rows


def in_one(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of one or more frames, each column in one piece of its own; for what stays.

    Texts of more than twelve bytes are views into the batch that they came with, and rows that
    are picked or put together hold on to all of each batch. So what is kept for longer than a
    batch must be copied now and then: at each merge, which moves its rows anyway.
    """
    rows = stacked(frames)
    return pl.DataFrame([_of_its_own(column) for column in rows.get_columns()])


def _of_its_own(column: pl.Series) -> pl.Series:
    if column.dtype not in (pl.String, pl.Binary) and not column.dtype.is_nested():
        return column.rechunk()
    # Arrow's older layout has offsets and bytes, and none but a column's own.
    return pl.Series(column.name, column.to_arrow(compat_level=pl.CompatLevel.oldest()))


def alike(one: pl.Series, other: pl.Series) -> npt.NDArray[np.bool_]:
    """Tell which values are equal, nulls to nulls, shape (n,); as `one.eq_missing(other)`."""
    if one.null_count() or other.null_count():
        return one.eq_missing(other).to_numpy()
    return (one == other).to_numpy()


def in_one_chunk(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with each column in one piece; as `frame.rechunk()`."""
    return pl.DataFrame([column.rechunk() for column in frame.get_columns()])


def pickle_in_one_chunk() -> None:
    """Have frames put into one piece before they are pickled, in this process.

    In several Polars does that itself, in its own thread, and waits for it with the interpreter's
    lock. If that thread, at work for another of Python's, needs the lock, both wait for ever; and
    while it is at work nothing of Python's runs.
    """
    copyreg.pickle(pl.DataFrame, _reduced)


def _reduced(frame: pl.DataFrame) -> tuple[Any, ...]:
    whole = frame if max(frame.n_chunks("all"), default=1) == 1 else in_one_chunk(frame)
    found = whole.__reduce_ex__(4)
    assert isinstance(found, tuple)  # noqa: S101 # as all objects say what they are made of
    return found

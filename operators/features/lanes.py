"""Lanes: what features need of each event, as columns of whole numbers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.expressions import one_row, select_rows
from operators.columns.hashing import hash_columns
from operators.state.folds import NONE
from operators.state.sliding_history import TIME

LOG: Final = logging.getLogger("millstream.features")

_SIGN: Final = np.int64(2**63 - 1)


@dataclass(frozen=True, slots=True)
class Lane:
    """One number of each event, in a column that is kept under its `name`.

    Of a "count" it is 1 where the event counts, of a "sum" the value, each else 0; of "values"
    a number in the order of the values, of a "hash" one that differs where they do, each else
    NONE. An event counts where its `of` is not null and `where` is true. `given` says what the
    features are that these read.
    """

    kind: Literal["count", "sum", "values", "hash"]
    of: str
    where: str
    given: str = ""

    @property
    def name(self) -> str:
        """Its name, which tells what it is of."""
        if self == TIMES:
            return TIME
        text = f"{self.kind} of {self.of}" if self.of else self.kind
        text = f"{text} where {self.where}" if self.where else text
        return f"{text} given {self.given}" if self.given else text

    def numbers(
        self,
        frame: pl.DataFrame,
        times: Int64s,
        masks: Mapping[str, Bools],
        hashes: dict[str, UInt64s] | None = None,
    ) -> Int64s:
        """Return it for each event, shape (n,); `masks` are where each `where` is true.

        `hashes` are as for `hash_columns`.
        """
        picked = masks.get(self.where)
        if self.kind == "values" and self.of == "event_time":
            return times if picked is None else np.where(picked, times, NONE)
        column = frame[self.of] if self.of else None
        if column is not None and column.null_count():
            there = column.is_not_null().to_numpy()
            picked = there if picked is None else picked & there
        if self.kind == "count":
            if picked is None:
                return np.ones(frame.height, np.int64)
            return picked.astype(np.int64)
        assert column is not None  # noqa: S101 # the others are of a column
        if self.kind == "hash":
            values = hash_columns(frame, [self.of], hashes).view(np.int64)
        else:
            values = ordered(column)
            if column.dtype.is_float():
                unknown = np.isnan(column.to_numpy())
                picked = ~unknown if picked is None else picked & ~unknown
        empty = 0 if self.kind == "sum" else NONE
        return values if picked is None else np.where(picked, values, empty)


TIMES: Final = Lane("values", "event_time", "")
"""The events' own times, which are kept anyway."""


def ordered(column: pl.Series) -> Int64s:
    """Return numbers in the order of a column's values, which `restored` makes those again."""
    if column.dtype.is_float():
        # -0.0 is 0.0; of what is negative the other bits are turned round.
        bits = (column.fill_null(0.0).to_numpy().astype(np.float64) + 0.0).view(np.int64)
        return bits ^ ((bits >> 63) & _SIGN)
    whole = column.to_physical()
    whole = whole.fill_null(0) if whole.null_count() else whole
    return whole.to_numpy().astype(np.int64, copy=False)


def restored(name: str, numbers: Int64s, unknown: Bools, dtype: pl.DataType) -> pl.Series:
    """Return the values that `ordered` made numbers of, null where they are unknown."""
    if not dtype.is_float():
        return nullable(name, numbers, unknown).cast(dtype)
    bits = numbers ^ ((numbers >> 63) & _SIGN)
    return nullable(name, bits.view(np.float64), unknown).cast(dtype)


def nullable(name: str, values: npt.NDArray[Any], unknown: Bools) -> pl.Series:
    """Return a column that is null where `unknown`, shape (n,), is true."""
    if not unknown.any():
        return pl.Series(name, values)
    # A copy in Polars' own memory: NumPy's is freed under the interpreter's lock, and a column may
    # end in a thread of Polars for which the lock's holder waits.
    return pl.Series(name, values).set(pl.Series(unknown), None)


class Conditions:
    """The conditions of features, on columns."""

    def __init__(self, conditions: Sequence[str]) -> None:
        self._expressions = {text: one_row(text).fill_null(value=False) for text in conditions}
        self._reads = {n for each in self._expressions.values() for n in each.meta.root_names()}
        self._told: set[str] = set()

    def masks(self, frame: pl.DataFrame) -> dict[str, Bools]:
        """Return for which events each is true, shape (n,).

        It is not of one on which it fails, which is said in the log once.
        """
        if not self._expressions:
            return {}
        named = [each.alias(text) for text, each in self._expressions.items()]
        # What is not read need not be put into one chunk.
        read = [name for name in frame.columns if name in self._reads]
        frame = frame[read or frame.columns[:1]]
        try:
            masks = select_rows(frame, named)
            return {text: masks[text].to_numpy() for text in self._expressions}
        except PolarsError:
            return {
                text: self._some(frame, text, each) for text, each in self._expressions.items()
            }

    def _some(self, frame: pl.DataFrame, text: str, expression: pl.Expr) -> Bools:
        """Return the same, halving the events until those on which it fails stand alone."""
        try:
            return select_rows(frame, [expression]).to_series().to_numpy()
        except PolarsError as error:
            if frame.height == 1:
                if text not in self._told:
                    self._told.add(text)
                    LOG.warning(
                        "%r fails on an event (%s), which so does not count for the features "
                        "with it; TRY_CAST makes null of what CAST cannot read",
                        text,
                        type(error).__name__,
                    )
                return np.zeros(1, bool)
            half = frame.height // 2
            parts = frame.head(half), frame.slice(half)
            return np.concatenate([self._some(part, text, expression) for part in parts])

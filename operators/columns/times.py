"""Times: columns of times as numbers."""

from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s

NO_TIME: Final = -(2**62)
"""Stands for a time that is not known, in µs."""

_CALENDAR: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""The years 1 to 9999, in µs since 1970."""
_NOT_A_TIME = np.iinfo(np.int64).min


def in_micros(times: pl.Series, null: int = NO_TIME) -> Int64s:
    """Return times as µs since 1970, shape (n,), `null` in place of nulls; maybe read-only.

    Without Polars' expressions, each of which costs 100 µs however few the rows.
    """
    micros: Int64s = times.to_numpy().astype("datetime64[us]", copy=False).view(np.int64)
    if times.null_count():
        return np.where(micros == _NOT_A_TIME, null, micros)
    return micros


def in_python(column: pl.Series) -> list[Any]:
    """Return a column's values; a time (µs, UTC) that Python has no datetime for as µs since 1970.

    A producer may send any 64-bit number, and only years 1 to 9999 have one.
    """
    if column.dtype != pl.Datetime("us", "UTC"):
        return column.to_list()
    micros = column.to_physical()
    known = micros.is_between(*_CALENDAR).fill_null(value=True)
    if known.all():
        return column.to_list()
    times = column.set(~known, None).to_list()
    return [
        time if fine else number
        for time, fine, number in zip(times, known.to_list(), micros.to_list(), strict=True)
    ]


def in_calendar(column: pl.Series) -> bool:
    """Tell whether Python has a datetime for each of a column's times (µs, UTC)."""
    return bool(column.to_physical().is_between(*_CALENDAR).fill_null(value=True).all())

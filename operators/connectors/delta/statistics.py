"""Statistics: what the log says of a file's columns, by which readers leave files out.

As https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics has them. A bound
may be wider than the values, never narrower: one that JSON or readers do not tell exactly is left
out or widened.
"""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from operators.records.tables import TIME

INDEXED: Final = 32
"""Of how many columns, the first ones, as is Delta's own default (`dataSkippingNumIndexedCols`)."""

_LONGEST: Final = 32
"""Characters of a text, as Spark cuts them."""

_BEHIND_ALL: Final = "\U0010ffff"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Statistics:
    """Of one file with columns of these types, those of no partition."""

    def __init__(self, columns: pl.Schema) -> None:
        self._columns = columns
        self._unordered: set[str] = set()
        self._fractions = [n for n, kind in list(columns.items())[:INDEXED] if kind.is_float()]

    def see(self, rows: pl.DataFrame) -> None:
        """Look at rows for what Parquet does not tell: readers do not agree where NaN stands."""
        for name in self._fractions:
            if name not in self._unordered and rows[name].is_nan().any():
                self._unordered.add(name)

    def of(self, footer: Any) -> str:
        """Return the JSON of a file by its Parquet `FileMetaData`."""
        least: dict[str, Any] = {}
        most: dict[str, Any] = {}
        nulls: dict[str, int] = {}
        at = 0
        for name, kind in list(self._columns.items())[:INDEXED]:
            leaf, at = at, at + _leaves(kind)
            if kind.is_nested():
                continue
            groups = [
                footer.row_group(g).column(leaf).statistics
                for g in range(footer.num_row_groups)
            ]
            nulls[name] = sum(each.null_count for each in groups)
            if name in self._unordered:
                continue
            found = [each for each in groups if each.num_values]
            bounds = _bounds(kind, found) if found else None
            if bounds is not None:
                least[name], most[name] = bounds
        told = {
            "numRecords": footer.num_rows,
            "minValues": least,
            "maxValues": most,
            "nullCount": nulls,
        }
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def _leaves(kind: pl.DataType) -> int:
    """Return how many of Parquet's columns a column is."""
    if isinstance(kind, pl.Struct):
        return sum(_leaves(_made(field.dtype)) for field in kind.fields)
    if isinstance(kind, pl.List | pl.Array):
        return _leaves(_made(kind.inner))
    return 1


def _made(kind: Any) -> pl.DataType:
    return kind if isinstance(kind, pl.DataType) else kind()


def _bounds(kind: pl.DataType, groups: list[Any]) -> tuple[Any, Any] | None:
    """Return the least and the largest value as JSON has them, None where they are not told."""
    if not all(each.has_min_max for each in groups):
        return None
    if kind == TIME:
        return _times([each.min_raw for each in groups], [each.max_raw for each in groups])
    if not (kind.is_integer() or kind.is_float() or kind in (pl.String, pl.Boolean, pl.Date)):
        return None
    try:
        low, high = min(each.min for each in groups), max(each.max for each in groups)
    except (OverflowError, ValueError):
        return None  # a day of no calendar, or what is no text
    if isinstance(low, float):
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None
    if isinstance(low, str):
        return low[:_LONGEST], _at_least(high)
    return (low.isoformat(), high.isoformat()) if kind == pl.Date else (low, high)


def _at_least(text: str) -> str:
    """Return a text that is not too long and not before another, nor before what follows it."""
    at = next((n for n, c in enumerate(text) if n >= _LONGEST and c != _BEHIND_ALL), None)
    return text if at is None else text[:at] + _BEHIND_ALL


def _times(least: list[int], most: list[int]) -> tuple[str, str] | None:
    try:
        both = (_EPOCH + timedelta(microseconds=us) for us in (min(least), max(most)))
        low, high = (each.isoformat(timespec="microseconds")[:-6] + "Z" for each in both)
    except OverflowError:
        return None
    return low, high

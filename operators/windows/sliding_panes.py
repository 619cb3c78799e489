"""Overlapping windows of plain aggregates, put together in NumPy.

A record of sliding windows is in size / every of them. A group-by takes its key and values
along into as many rows; here these are numbers, and the key is looked up once per pane.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s, UInt64s
from operators.columns.frames import alike, in_one_chunk, stacked, taken
from operators.columns.grouping import differs
from operators.columns.hashing import hash_columns
from operators.columns.ranges import repeats
from operators.records.batches import NO_WATERMARK
from operators.windows.accumulators import KEY_HASH
from operators.windows.sliding_sums import SAFE, beyond, different, over, summed
from operators.windows.spec import Windows

AFTER: Final = "after"
UNTIL: Final = "until"

_KINDS: Final = {"count", "sum", "mean", "min", "max", "distinct"}


def starts_between(windows: Windows, kept: pl.DataFrame, due: int) -> tuple[Int64s, Int64s]:
    """Return the first start and the number of the windows that rows count in now.

    Of the windows that hold a row's slice, those whose pane was due, `due` µs behind the start,
    between AFTER and UNTIL and not before the row counts.
    """
    slices, since = kept["slice"].to_numpy(), kept["since"].to_numpy()
    after, until = kept[AFTER].to_numpy(), kept[UNTIL].to_numpy()
    first, last = windows.first_start(slices), windows.last_start(slices)
    every = windows.sliding.every
    earliest = np.maximum(np.maximum(after + 1, NO_WATERMARK), since) - due
    skipped = np.maximum(-((first - earliest) // every), 0)
    count = (np.minimum(last, until - due) - first) // every + 1 - skipped
    return first + skipped * every, np.maximum(count, 0)


class _Inputs(NamedTuple):
    """What is put together of n rows: numbers of each, and the values of each.

    `values` holds, by name, pairs of a row and a value's code, which may repeat.
    """

    numbers: dict[str, Int64s]
    values: dict[str, tuple[Int64s, Int64s]]


class Overlap:
    """Puts the panes of overlapping windows together, where numbers will do."""

    def __init__(self, windows: Windows, schema: Mapping[str, pl.DataType]) -> None:
        self._windows, self._types = windows, dict(schema)
        self._names: dict[str, tuple[str, str]] = {}
        self._sets: dict[str, tuple[str, int]] = {}
        for each in windows.over.values():
            column = each.column
            if each.kind == "count":
                self._names["count"] = "count", ""
            elif each.kind in ("sum", "mean"):
                self._names[f"sum {column}"] = "sum", column
                self._names[f"values {column}"] = "values", column
            elif each.kind in ("min", "max"):
                self._names[f"{each.kind} {column}"] = each.kind, column
            elif each.kind == "distinct":
                self._sets[f"distinct {each.exact} {column}"] = column, each.exact

    @staticmethod
    def fits(windows: Windows, schema: Mapping[str, pl.DataType]) -> bool:
        """Tell whether the windows have one pane, of aggregates of whole numbers alone."""
        return len(windows.panes) == 1 and all(
            each.kind in _KINDS
            and (each.kind in ("count", "distinct") or schema[each.column].is_integer())
            for each in windows.over.values()
        )

    def panes(
        self, rows: Sequence[pl.DataFrame], partials: Sequence[pl.DataFrame]
    ) -> tuple[pl.DataFrame, Int64s, list[pl.Series]] | None:
        """Return the keys, starts in µs and aggregates of all windows that are due.

        None if this takes more than numbers: sketches, sums near 2⁶², null extremes, keys whose
        hashes are alike.
        """
        windows = self._windows
        marks = [*windows.by, KEY_HASH, "slice", "since", AFTER, UNTIL]
        kept = in_one_chunk(stacked(frame[marks] for frame in (*rows, *partials)))
        begin, times = starts_between(windows, kept, windows.panes[0][1])
        keys = codes(kept[KEY_HASH].to_numpy(), kept[list(windows.by)])
        inputs = self._inputs(rows, partials)
        if keys is None or inputs is None or not times.any():
            return None
        every, base, most = windows.sliding.every, begin.min(), int(times.max()) + 1
        place = (begin - base) // every
        span = int(place.max()) + most
        if (int(keys.max()) + 1) * span * most > SAFE:
            return None
        # Rows of one key that are in the same windows are one from here on.
        at, row, numbers = summed(inputs.numbers, (keys * span + place) * most + times)
        pane, times = (keys * span + place)[at], times[at]
        first, more = beyond(pane, times)
        again, step = repeats(more)
        panes = first[again] + step
        begins, size = np.searchsorted(panes, pane), len(panes)
        numbers = {n: over(n, each, begins, times, size) for n, each in numbers.items()}
        counts = {
            name: different(begins[row[rows]], times[row[rows]], known, size)
            for name, (rows, known) in inputs.values.items()
        }
        values = self._finished(numbers, counts)
        if values is None:
            return None
        keyed = taken(kept[list(windows.by)], at[again])
        return keyed, base + panes % span * every, values

    def _inputs(
        self, rows: Sequence[pl.DataFrame], partials: Sequence[pl.DataFrame]
    ) -> _Inputs | None:
        numbers = {}
        for name, (kind, column) in self._names.items():
            of_rows = [_number(frame, kind, column) for frame in rows]
            of_partials = [frame[name].cast(pl.Int64, strict=False) for frame in partials]
            series = pl.concat([*of_rows, *of_partials])
            if series.null_count():
                return None
            numbers[name] = series.to_numpy()
            if kind == "sum" and _largest(numbers[name]) * len(series) > SAFE:
                return None
        pairs = {}
        for name, (column, _) in self._sets.items():
            if any(
                frame[f"sketch of {name}"].null_count() < frame.height for frame in partials
            ):
                return None
            single = [frame[column] for frame in rows]
            lists = [frame[name] for frame in partials]
            sizes = [each.is_not_null().cast(pl.Int64) for each in single]
            sizes += [each.list.len().cast(pl.Int64) for each in lists]
            flat = pl.concat([
                *(each.drop_nulls() for each in single),
                *(each.explode(keep_nulls=False, empty_as_null=False) for each in lists),
            ])  # fmt: skip
            known = codes(hash_columns(flat.to_frame(), [flat.name]), flat.to_frame())
            if known is None:
                return None
            pairs[name] = repeats(pl.concat(sizes).to_numpy())[0], known
        return _Inputs(numbers, pairs)

    def _finished(
        self, numbers: dict[str, Int64s], counts: dict[str, Int64s | None]
    ) -> list[pl.Series] | None:
        """Return the aggregates, None if there are more different values than may be kept."""
        made = []
        for name, each in self._windows.over.items():
            column = each.column
            if each.kind == "distinct":
                found = counts[f"distinct {each.exact} {column}"]
                if found is None or found.max() > each.exact:
                    return None
                values = pl.Series(name, found)
            elif each.kind == "count":
                values = pl.Series(name, numbers["count"])
            elif each.kind in ("min", "max"):
                values = pl.Series(name, numbers[f"{each.kind} {column}"])
                values = values.cast(self._types[column])
            else:
                total, some = (numbers[f"{what} {column}"] for what in ("sum", "values"))
                mean = each.kind == "mean"
                values = pl.Series(name, total / np.maximum(some, 1) if mean else total)
                if not some.all():
                    values = values.set(pl.Series(some == 0), None)
            made.append(values)
        return made


def _number(frame: pl.DataFrame, kind: str, column: str) -> pl.Series:
    if kind == "count":
        return pl.Series(np.ones(frame.height, np.int64))
    values = frame[column]
    if kind == "values":
        return values.is_not_null().cast(pl.Int64)
    if kind == "sum" and values.null_count():
        values = values.fill_null(0)
    return values.cast(pl.Int64, strict=False)


def _largest(values: Int64s) -> float:
    return max(abs(float(values.max(initial=0))), abs(float(values.min(initial=0))))


def codes(hashes: UInt64s, columns: pl.DataFrame) -> Int64s | None:
    """Return a number for each row, equal for equal rows; None if unequal ones share a hash."""
    order = np.argsort(hashes)
    new = differs(hashes[order])
    again = np.flatnonzero(~new)
    for column in in_one_chunk(columns).get_columns():
        # Where most are there again, one look-up in order takes half the time of two.
        if 2 * len(again) > len(order):
            sorted_ = column[order]
            same = alike(sorted_.slice(1), sorted_.head(-1))[again - 1]
        else:
            same = alike(column[order[again]], column[order[again - 1]])
        if not same.all():
            return None
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers

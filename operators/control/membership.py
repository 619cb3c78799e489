"""Membership: which lists the values of a batch are on."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s, UInt64s
from operators.columns.frames import filtered, taken
from operators.columns.hashing import hash_strings
from operators.columns.ranges import repeats
from operators.rules.lists import LISTED

_SCHEMA: Final = {
    "column": pl.String, "value": pl.String, "item": pl.String,
    "begins": pl.Int64, "ends": pl.Int64,
}  # fmt: skip


class _Column:
    """The entries of one column, by their values' hashes.

    There may be many, and a batch is small: a join would hash them all anew for each.
    """

    def __init__(self, entries: pl.DataFrame) -> None:
        hashes = hash_strings(entries["value"].rechunk())
        order = np.argsort(hashes, kind="stable")
        self._hashes: UInt64s = hashes[order]
        self._entries = taken(entries.drop("column"), order)

    def find(self, values: pl.Series, times: Int64s) -> pl.DataFrame | None:
        """Return `row` and `item` of what is listed, None if nothing is."""
        rows = np.arange(len(values))
        if values.null_count():
            known = values.is_not_null()
            rows, values = rows[known.to_numpy()], values.filter(known)
        hashes = hash_strings(values.rechunk())
        places = np.searchsorted(self._hashes, hashes)
        counts = np.searchsorted(self._hashes, hashes, "right") - places
        if not counts.any():
            return None
        place, step = repeats(counts)
        held = taken(self._entries, places[place] + step)
        asked = taken(pl.DataFrame([values]), place).to_series()
        rows = rows[place]
        at = times[rows]
        holds = (held["begins"].to_numpy() <= at) & (at < held["ends"].to_numpy())
        # Two values may have one hash.
        holds &= (held["value"] == asked).to_numpy()
        row = pl.Series("row", rows.astype(np.uint32))
        return filtered(pl.DataFrame([row, held["item"]]), pl.Series(holds))


class Membership:
    """Entries, as the rows of a batch find them: by column and value, each within its time."""

    def __init__(self, entries: Iterable[tuple[str, str, str, int, int]]) -> None:
        """Take column, value, item, begin and end of each, these in µs."""
        rows = [each for each in entries if each[3] < each[4]]
        frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
        self._columns = {str(name): _Column(mine) for (name,), mine in frame.group_by("column")}

    def of(self, frame: pl.DataFrame, columns: Sequence[str], times: Int64s) -> pl.Series:
        """Return the text of each row; see `LISTED`."""
        none = pl.Series(LISTED, [""], dtype=pl.String).new_from_index(0, frame.height)
        if not frame.height:
            return none
        parts = [
            found
            for name in columns
            if name in self._columns
            and (found := self._columns[name].find(frame[name], times)) is not None
        ]
        if not parts:
            return none
        found = parts[0] if len(parts) == 1 else pl.concat(parts)
        if len(np.unique(found["row"].to_numpy())) < found.height:
            items = pl.col("item").unique().sort().str.join(" ")
            found = found.group_by("row").agg(items)
        return none.scatter(found["row"], found["item"])

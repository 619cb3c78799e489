"""Panes: tumbling and sliding windows put together from slices, revision by revision."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.batches import NO_WATERMARK, Int64s
from operators.windows.spec import Windows
from operators.windows.store import Frame, Store

_MARKS: Final = ("slice", "since")


class Panes:
    """The slices of one slot of a key group, until the last window that holds them is final."""

    VERSION: Final = 1

    def __init__(self, windows: Windows) -> None:
        self._windows, self._window = windows, windows.sliding
        self._store = Store(windows.aggregates, windows.by, _MARKS)
        self._done = NO_WATERMARK

    @property
    def rows(self) -> int:
        """How many rows and partials are kept."""
        return self._store.rows

    def advance(self, rows: Frame, watermark: int | None) -> Frame:
        """Take rows; return the panes that are due at a watermark in µs, in no order.

        They have the `by` columns, `window_start`, `window_end`, `revision`, the aggregates,
        and `closes`, the time at which a pane was due. Times are Int64, in µs.
        """
        if rows is not None:
            self._store.add(rows)
        if watermark is None:
            return None
        if len(self._windows.panes) == 1 and self._window.tumbles:
            return self._whole(watermark)
        self._store.reduce()
        panes = self._due(watermark)
        self._done = watermark
        self._store.drop(lambda slices: self._final(slices) <= watermark)
        return pl.concat(panes) if panes else None

    def _whole(self, watermark: int) -> Frame:
        """Return windows that have one slice and one pane: records need no step between."""
        partials = self._store.take(lambda slices: self._final(slices) <= watermark, ["slice"])
        return None if partials is None else self._pane(partials, pl.col("slice"), 0)

    def _final(self, slices: Int64s) -> Int64s:
        """Return when the last pane of each slice's last window is due."""
        return self._windows.last_start(slices) + self._windows.panes[-1][1]

    def _due(self, watermark: int) -> list[pl.DataFrame]:
        """Return the panes of every window that are due and were not before."""
        kept = self._store.partials()
        if kept is None:
            return []
        starts = self._windows.first_start(kept["slice"].to_numpy())
        ripe = starts + self._windows.panes[0][1] <= watermark
        if not ripe.any():
            return []
        kept = kept.filter(pl.Series(ripe))
        slices, since = kept["slice"].to_numpy(), kept["since"].to_numpy()
        first, last = self._windows.first_start(slices), self._windows.last_start(slices)
        every, panes, before = self._window.every, [], 0
        for place, (revision, due) in enumerate(self._windows.panes):
            # Of the windows that hold a slice, those that were due since the last time and not
            # before the slice's records count.
            earliest = np.maximum(max(self._done + 1, NO_WATERMARK), since) - due
            skipped = np.maximum(-((first - earliest) // every), 0)
            count = (np.minimum(last, watermark - due) - first) // every + 1 - skipped
            count = np.maximum(count, 0)
            at = np.repeat(np.arange(len(slices)), count)
            if len(at):
                step = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
                start = first[at] + (skipped[at] + step) * every
                rows = kept if (count == 1).all() else kept[at]
                rows = rows.with_columns(pl.Series("window_start", start))
                if revision:
                    rows = self._with_news(rows, due, before)
                if rows.height:
                    math = self._store.math(rows.schema)
                    merged = math.merge(rows, ["window_start"])
                    panes.append(self._pane(merged, pl.col("window_start"), place))
            before = due
        return panes

    def _with_news(self, rows: pl.DataFrame, due: int, before: int) -> pl.DataFrame:
        """Return the rows of the windows and keys that have some from since the pane before."""
        keys = [*self._windows.by, "window_start"]
        if due == self._windows.panes[0][1]:
            return rows
        news = rows.filter(pl.col("since") > pl.col("window_start") + before).select(keys)
        return rows.join(news, on=keys, how="semi", nulls_equal=True)

    def _pane(self, partials: pl.DataFrame, start: pl.Expr, place: int) -> pl.DataFrame:
        revision, due = self._windows.panes[place]
        values = self._store.math(partials.schema).finish(partials)
        return partials.select(
            *self._windows.by,
            start.alias("window_start"),
            (start + self._window.size).alias("window_end"),
            pl.lit(revision, pl.Int32).alias("revision"),
            *values,
            (start + due).alias("closes"),
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        return {"version": self.VERSION, "done": self._done, **self._store.dump()}

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"panes of state version {state['version']}")
        panes = cls(windows)
        panes._done = state["done"]
        panes._store.load(state)
        return panes

"""Together: rows that several steps make of the same records, made one row of each record."""

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.frames import filtered, stacked, taken
from operators.columns.ipc import from_ipc, to_ipc

STATE_VERSION: Final = 1

_OFFSET: Final = "source_offset"


class Together:
    """The rows of a partition's records, by the step that made them, until each has made one.

    Steps that are told the same progress have settled the same records by an epoch's end. So what
    waits does so within an epoch, and nothing is left to be kept.
    """

    def __init__(self, steps: int, state: Mapping[str, Any] | None = None) -> None:
        """Begin, for so many `steps`; `state` resumes.

        Raises ValueError for a state of an unknown version.
        """
        self._rows: list[list[pl.DataFrame]] = [[] for _ in range(steps)]
        if state is not None:
            if state["version"] != STATE_VERSION:
                raise ValueError(f"rows put together of state version {state['version']}")
            self._rows = [[from_ipc(each)] if each else [] for each in state["rows"]]

    @property
    def waiting(self) -> int:
        """How many rows wait for those of other steps."""
        return sum(rows.height for frames in self._rows for rows in frames)

    def add(self, step: int, rows: pl.DataFrame) -> None:
        """Take what a step has made: a row of a record, with its `source_offset`."""
        self._rows[step].append(rows)

    def take(self) -> pl.DataFrame | None:
        """Return and forget the rows that are whole, by offset.

        They have the first step's columns, and behind them those that others have added.
        """
        if not all(self._rows):
            return None
        frames = [stacked(each) for each in self._rows]
        offsets = [rows[_OFFSET].to_numpy() for rows in frames]
        whole = reduce(
            partial(np.intersect1d, assume_unique=True), offsets[1:], np.sort(offsets[0])
        )
        columns: dict[str, pl.Series] = {}
        for step, (rows, own) in enumerate(zip(frames, offsets, strict=True)):
            order = np.argsort(own)
            found = taken(rows, order[np.searchsorted(own, whole, sorter=order)])
            for each in found.get_columns():
                columns.setdefault(each.name, each)
            left = ~np.isin(own, whole)
            self._rows[step] = [filtered(rows, pl.Series(left))] if left.any() else []
        return pl.DataFrame(list(columns.values())) if len(whole) else None

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery."""
        return {"version": STATE_VERSION, "rows": [to_ipc(*each) for each in self._rows]}

"""Intake: the front of a key group, which holds new records and knows the time."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final, Self

import numpy as np
import polars as pl

from operators.columns.grouping import distinct
from operators.columns.times import in_micros
from operators.event_time.watermarks import FlowWatermark
from operators.records.batches import NO_WATERMARK, Progress
from operators.windows.counting import Spans
from operators.windows.pieces import Frame, Pieces
from operators.windows.spec import PLACED, Windows
from operators.windows.timers import Timers

_HELD_MIN: Final = 2_048
_HELD_MAX: Final = 131_072
_GOLDEN: Final = 0.618034


@dataclass(frozen=True, slots=True)
class Work:
    """What a slot has to do: take rows, then bring its panes up to a watermark in µs."""

    slot: int
    rows: pl.DataFrame | None
    watermark: int | None


class Intake:
    """Holds a key group's newest records back and hands them on in large runs.

    What it hands them to is large and changes seldom; a recovery store that writes a state
    anew whenever it is touched so writes what has changed, and everything only now and then:
    of N rows there and n new ones in an epoch about √(2·N·n) are written. Three tenths more or
    less make little difference, so each group waits for a number of its own: they hand on in
    different epochs, as one in which all did would be long.
    """

    VERSION: Final = 5

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self.flow = FlowWatermark()
        self._held = Pieces(columns=[*windows.inputs, *PLACED])
        self._since: int | None = None
        self._dues: dict[int, Timers] = {}
        self._fresh = 0
        self._room = _HELD_MAX
        self.group = 0
        """Which key group it is the front of."""

    @property
    def spans(self) -> Spans:
        """The windows that what is held counts in."""
        return Spans.of(self._windows, self._held.frames, self.flow.current)

    def advance(self, progress: list[Progress], rows: Frame) -> tuple[list[Work], Frame]:
        """Take judged rows and the partitions' progress; return work, and what came late.

        Late here are records of partitions that slept while the flow's watermark went on:
        frames as `Judged.late`.
        """
        late = None
        for each in progress:
            self.flow.observe(each)
        if rows is not None and rows.height:
            rows, late = self._woken(rows)
            if rows.height:
                since = _first(rows)
                self._since = since if self._since is None else min(since, self._since)
                self._held.add(rows)
                self._fresh += rows.height
        watermark = self.flow.current
        if watermark >= self._next_due():
            return self._hand_on(watermark), late
        if self.rows > self._room:
            return self._hand_on(None), late
        self._held.ahead()
        return [], late

    @property
    def rows(self) -> int:
        """How many rows are held back."""
        return self._held.height

    def _next_due(self) -> int:
        dues = [each.next for each in self._dues.values()]
        return min((due for due in (*dues, self._since) if due is not None), default=2**63)

    def _woken(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Frame]:
        """Judge the rows of partitions that slept by the watermark that they wake up to."""
        if not self.flow.floors:
            return rows, None
        floors = (
            rows["source_partition"]
            .replace_strict(dict(self.flow.floors), default=NO_WATERMARK, return_dtype=pl.Int64)
            .to_numpy()
        )
        marks = in_micros(rows["watermark"])
        if not (floors > marks).any():
            return rows, None
        # Those that missed a window by their own watermark have been told as late for it.
        known = self._windows.judge(rows.drop(PLACED)).late
        judged = self._windows.judge(rows.drop(PLACED), np.maximum(floors, marks))
        late = judged.late
        if late is not None and known is not None:
            place = ["source_partition", "source_offset", "window_start"]
            late = late.join(known.select(place), on=place, how="anti")
        return judged.rows, late if late is not None and late.height else None

    def _hand_on(self, watermark: int | None) -> list[Work]:
        slots: dict[int, pl.DataFrame] = {}
        held, self._since = self._held.take_all(), None
        if held is not None:
            slots = self._split(held)
        work = []
        for slot in sorted({*slots, *self._dues}):
            upcoming = self._dues[slot].next
            due = watermark is not None and upcoming is not None and upcoming <= watermark
            if due or slot in slots:
                work.append(Work(slot, slots.get(slot), watermark if due else None))
        if watermark is not None:
            self._forget(watermark)
        return work

    def _split(self, rows: pl.DataFrame) -> dict[int, pl.DataFrame]:
        """Note when the rows will be asked for, and return them by slot."""
        slices, counts = np.unique(rows["slice"].to_numpy(), return_counts=True)
        slots = slices // self._windows.window.slice % self._windows.slots
        for slot in distinct(slots).tolist():
            mine = slots == slot
            dues, last = self._windows.dues(slices[mine])
            self._dues.setdefault(slot, Timers()).add(dues, last, counts[mine])
        if self._windows.slots == 1:
            return {0: rows}
        by_slot = rows.with_columns(slot=self._windows.slot(pl.col("slice"))).partition_by(
            "slot", as_dict=True, include_key=False
        )
        return {int(str(slot)): part for (slot,), part in by_slot.items()}

    def _forget(self, watermark: int) -> None:
        for slot, dues in list(self._dues.items()):
            dues.forget(watermark)
            if dues.next is None:
                del self._dues[slot]

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery; freezes the flow's watermark."""
        live = sum(dues.rows for dues in self._dues.values())
        share = 0.7 + 0.6 * (self.group * _GOLDEN % 1)
        best = int(share * isqrt(2 * live * self._fresh))
        self._room = min(max(best, _HELD_MIN), _HELD_MAX)
        self._fresh = 0
        return {
            "version": self.VERSION,
            "flow": self.flow.freeze(),
            "rows": self._held.dump(),
            "dues": {slot: dues.dump() for slot, dues in self._dues.items()},
        }

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"windows of state version {state['version']}")
        intake = cls(windows)
        intake.flow = FlowWatermark.thaw(state["flow"])
        intake._dues = {slot: Timers.load(dues) for slot, dues in state["dues"].items()}
        intake._held = Pieces.load(state["rows"], [*windows.inputs, *PLACED])
        since = [*map(_first, intake._held.frames)]
        intake._since = min(since, default=None)
        return intake


def _first(rows: pl.DataFrame) -> int:
    """Return the earliest time in µs at which rows, of which there are some, are asked for."""
    return int(rows["since"].to_numpy().min())

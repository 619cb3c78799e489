"""Open windows: one key group's intake and panes together, without an engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import polars as pl

from operators.records.batches import Progress
from operators.windows.assigners import Session
from operators.windows.counting import OpenCount
from operators.windows.emission import Emission
from operators.windows.intake import Intake
from operators.windows.panes import Panes
from operators.windows.pieces import Frame
from operators.windows.session_revisions import RevisedSessions
from operators.windows.sessions import Sessions
from operators.windows.spec import Windows

Slot: TypeAlias = Panes | Sessions | RevisedSessions
"""What puts the windows of a slot of a key group together."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What one call of `OpenWindows.advance` brings; either may be None.

    `panes` has a row per pane in no order, with the columns of `as_times` of `Emission.close`;
    `late` are records as in `Judged.late`, of partitions that had been idle.
    """

    panes: pl.DataFrame | None
    late: pl.DataFrame | None


def as_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with `window_start` and `window_end` as UTC times."""
    return frame.with_columns(
        pl.col("window_start", "window_end").cast(pl.Datetime("us", "UTC"))
    )


def _kind(windows: Windows) -> type[Slot]:
    if not isinstance(windows.window, Session):
        return Panes
    return Sessions if windows.once else RevisedSessions


def new_panes(windows: Windows) -> Slot:
    """Return what puts windows of this kind together."""
    return _kind(windows)(windows)


def load_panes(windows: Windows, state: Mapping[str, Any]) -> Slot:
    """Resume dumped panes; raises ValueError for a state of an unknown version."""
    return _kind(windows).load(windows, state)


def newest(panes: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Return the newest revision of each window alone, in the order of the rows.

    For sessions those that no other continues.
    """
    revision = pl.col("revision")
    if not isinstance(windows.window, Session):
        keys = [*windows.by, "window_start", "window_end"]
        return panes.filter(revision == revision.max().over(keys))
    # Those that contain a row come before it, and those before it that reach it contain it.
    before = (
        pl.col("window_end")
        .cum_max()
        .shift()
        .over(
            windows.by,
            order_by=["window_start", -pl.col("window_end").to_physical(), -revision],
        )
    )
    return panes.filter(before.is_null() | (before <= pl.col("window_start")))


class OpenWindows:
    """The open windows of one key group, for tests and for use without Bytewax."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._intake = Intake(windows)
        self._slots: dict[int, Slot] = {}
        self._closing = Emission(windows)

    @property
    def rows(self) -> int:
        """How many rows and partials are kept."""
        return self._intake.rows + sum(slot.rows for slot in self._slots.values())

    @property
    def open(self) -> int:
        """How many windows may have a pane yet."""
        counts = [0]
        counting = OpenCount(self._windows, 1, counts.append)
        for number, slot in self._slots.items():
            counting.keep(number, slot.spans)
        counting.hold("intake", self._intake.spans)
        return counts[-1]

    def advance(self, progress: list[Progress], rows: Frame) -> Closed:
        """Add judged rows, take the partitions' progress, and emit what is due.

        `rows` are those of `Windows.judge`, with the record's coordinates and watermark.
        """
        work, late = self._intake.advance(progress, rows)
        dues = []
        for each in work:
            slot = self._slots.setdefault(each.slot, new_panes(self._windows))
            due = slot.advance(each.rows, each.watermark)
            if due is not None:
                dues.append(due)
            if slot.rows == 0:
                del self._slots[each.slot]
        panes = self._closing.close(dues)
        return Closed(None if panes is None else as_times(panes), late)

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery; freezes the flow's watermark."""
        slots = {slot: panes.dump() for slot, panes in self._slots.items()}
        return {"intake": self._intake.dump(), "slots": slots}

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        opened = cls(windows)
        opened._intake = Intake.load(windows, state["intake"])
        opened._slots = {
            slot: load_panes(windows, panes) for slot, panes in state["slots"].items()
        }
        return opened

"""Windows: keyed aggregates over spans of event time, emitted when the watermark passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import polars as pl

from operators.batches import NO_WATERMARK, Progress
from operators.watermarks import FlowWatermark

Kind = Literal["count", "sum", "max", "min", "distinct"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of a window: its kind and the column it is over (none for a count)."""

    kind: Kind
    column: str = ""

    def expression(self) -> pl.Expr:
        """Return the aggregate over a window's rows."""
        match self.kind:
            case "count":
                return pl.len().cast(pl.Int64)
            case "sum":
                return pl.col(self.column).sum()
            case "max":
                return pl.col(self.column).max()
            case "min":
                return pl.col(self.column).min()
            case "distinct":
                return pl.col(self.column).n_unique().cast(pl.Int64)


@dataclass(frozen=True)
class Windows:
    """What is aggregated: tumbling windows of `size` µs per value of the `by` columns.

    A window [start, start + size) is aligned to the epoch. It closes when the flow's
    watermark reaches its end plus `lateness` µs, and a record whose own partition's watermark
    had reached that before the record is late for it.
    """

    by: tuple[str, ...]
    size: int
    aggregates: Mapping[str, Aggregate]
    lateness: int = 0

    @property
    def inputs(self) -> list[str]:
        """The columns that a row keeps while its window is open."""
        columns = [a.column for a in self.aggregates.values() if a.column]
        return list(dict.fromkeys([*self.by, *columns]))

    def assign(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the start, end and closing time of their window in µs (Int64).

        The columns are called `window_start`, `window_end` and `closes`.
        """
        time = pl.col("event_time").to_physical()
        start = time - time % self.size
        return frame.with_columns(
            start.alias("window_start"),
            (start + self.size).alias("window_end"),
            (start + self.size + self.lateness).alias("closes"),
        )


def as_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with `window_start` and `window_end` as UTC times."""
    return frame.with_columns(
        pl.col("window_start", "window_end").cast(pl.Datetime("us", "UTC"))
    )


@dataclass(frozen=True, slots=True)
class Closed:
    """What one call of `OpenWindows.advance` brings.

    `panes` has a row per closed window, its columns the `by` columns, `window_start`,
    `window_end` (UTC) and the aggregates, sorted by the window and `by`; `late` the given rows
    that came too late after their partition had been idle. Either may be None.
    """

    panes: pl.DataFrame | None
    late: pl.DataFrame | None


class OpenWindows:
    """The open windows of one key group: rows are kept until their window closes.

    Adding rows costs next to nothing; the work is done once per window, when it closes. Where
    windows stay open for long the rows are reduced to what the aggregates need.
    """

    VERSION: Final = 1

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self.flow = FlowWatermark()
        self._pending: list[pl.DataFrame] = []
        self._next_close: int | None = None

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return sum(frame.height for frame in self._pending)

    def advance(self, progress: list[Progress], rows: pl.DataFrame | None) -> Closed:
        """Add assigned rows, take the partitions' progress, and close what is due.

        `rows` need `source_partition`, the columns of `assign` and those of
        `Windows.inputs`, and must not be late by their own partition's watermark.
        """
        late = None
        if rows is not None and rows.height:
            rows, late = self._hold_back(rows)
            if rows.height:
                closes = int(rows["closes"].min())  # type: ignore[arg-type] # never null
                self._next_close = min(closes, self._next_close or closes)
                self._pending.append(
                    rows.select(*self._windows.inputs, "window_start", "window_end", "closes")
                )
        for each in progress:
            self.flow.observe(each)
        return Closed(self._close(), late)

    def _hold_back(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Split off the rows of partitions that slept while the flow's watermark went on."""
        if not self.flow.floors:
            return rows, None
        floor = pl.col("source_partition").replace_strict(
            dict(self.flow.floors), default=NO_WATERMARK, return_dtype=pl.Int64
        )
        rows = rows.with_columns(floor.alias("floor"))
        late = rows.filter(pl.col("closes") <= pl.col("floor"))
        if late.height == 0:
            return rows.drop("floor"), None
        late = late.with_columns(pl.col("floor").cast(pl.Datetime("us", "UTC")).alias("watermark"))
        return rows.filter(pl.col("closes") > pl.col("floor")).drop("floor"), late.drop("floor")

    def _close(self) -> pl.DataFrame | None:
        watermark = self.flow.current
        if self._next_close is None or watermark < self._next_close:
            return None
        kept = pl.concat(self._pending)
        due = kept.filter(pl.col("closes") <= watermark)
        rest = kept.filter(pl.col("closes") > watermark)
        self._pending = [rest] if rest.height else []
        self._next_close = int(rest["closes"].min()) if rest.height else None  # type: ignore[arg-type] # never null
        keys = [*self._windows.by, "window_start", "window_end"]
        panes = due.group_by(keys).agg(
            **{name: a.expression() for name, a in self._windows.aggregates.items()}
        )
        return as_times(panes.sort("window_end", "window_start", *self._windows.by))

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery; freezes the flow's watermark."""
        rows = None
        if self._pending:
            kept = pl.concat(self._pending)
            self._pending = [kept]
            rows = kept.write_ipc(None).getvalue()
        return {"version": self.VERSION, "flow": self.flow.freeze(), "rows": rows}

    @classmethod
    def load(cls, windows: Windows, state: Mapping[str, Any]) -> Self:
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != cls.VERSION:
            raise ValueError(f"open windows of state version {state['version']}")
        opened = cls(windows)
        opened.flow = FlowWatermark.thaw(state["flow"])
        if state["rows"] is not None:
            kept = pl.read_ipc(state["rows"], memory_map=False)
            opened._pending = [kept]
            opened._next_close = int(kept["closes"].min())  # type: ignore[arg-type] # never null
        return opened

"""Tables: what each holds, and the frontier that its rows account for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from operators.batches import NO_WATERMARK, Progress
from operators.watermarks import FlowWatermark

TIME: Final = pl.Datetime("us", "UTC")

COORDINATES: Final[dict[str, pl.DataType]] = {
    "source_topic": pl.String(),
    "source_partition": pl.Int32(),
    "source_offset": pl.Int64(),
}
"""Where a record came from."""

STAMPS: Final[dict[str, pl.DataType]] = {"flow_version": pl.String(), "written_at": TIME}
"""What the writer adds to every row; `written_at` alone may differ between reruns."""


@dataclass(frozen=True)
class Table:
    """A table: its name under the root, its columns in order, and how rows are fenced.

    Rows "by offset" carry `COORDINATES`; rows "by window" carry `window_end` and close when
    the flow's watermark reaches it plus `lateness` µs. `STAMPS` come on top of `columns`.
    `scattered` columns hold values that hardly repeat: a dictionary of them costs the writer a
    third of its time and saves nothing.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    fenced: Literal["by offset", "by window"] = "by offset"
    partition_by: tuple[str, ...] = ()
    lateness: int = 0
    scattered: tuple[str, ...] = ("source_offset", "payment_id", "event_time")

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """All columns with their types, in the table's order."""
        return {**self.columns, **STAMPS}


@dataclass
class Frontier:
    """What a table accounts for: per source partition the last offset, and the watermark.

    `offsets` maps (topic, partition) to the last offset, inclusive; `watermark` is the
    flow's in µs.
    """

    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    watermark: int = NO_WATERMARK

    def joined(self, other: "Frontier") -> "Frontier":
        """Return the frontier of both: a replay that is cut short must not move it back."""
        offsets = dict(self.offsets)
        for place, offset in other.offsets.items():
            offsets[place] = max(offset, offsets.get(place, offset))
        return Frontier(offsets, max(self.watermark, other.watermark))

    def beyond(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are not yet accounted for."""
        if rows.height == 0:
            return rows
        if table.fenced == "by window":
            if self.watermark == NO_WATERMARK:
                return rows
            closes = pl.col("window_end").to_physical() + table.lateness
            return rows.filter(closes > self.watermark)
        if not self.offsets:
            return rows
        topics = rows["source_topic"].unique().to_list()
        for (topic, partition), offset in self.offsets.items():
            if topic not in topics:
                continue
            mine = (pl.col("source_topic") == topic) & (pl.col("source_partition") == partition)
            rows = rows.filter(~(mine & (pl.col("source_offset") <= offset)))
        return rows


class Tracker:
    """Turns the sources' progress into the frontier of the epoch that is under way."""

    def __init__(self) -> None:
        self.offsets: dict[tuple[str, int], int] = {}
        self.flow = FlowWatermark()

    def observe(self, progress: Progress) -> None:
        """Take a partition's progress."""
        if progress.offset >= 0:
            self.offsets[progress.topic, progress.partition] = progress.offset
        self.flow.observe(progress)

    @property
    def frontier(self) -> Frontier:
        """The frontier after all progress so far."""
        return Frontier(dict(self.offsets), self.flow.current)

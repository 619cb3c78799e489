"""Tables: what each holds, and how its rows are fenced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

import polars as pl

TIME: Final = pl.Datetime("us", "UTC")

COORDINATES: Final[dict[str, pl.DataType]] = {
    "source_topic": pl.String(),
    "source_partition": pl.Int32(),
    "source_offset": pl.Int64(),
}
"""Where a record came from."""


def duplicate_columns(id_column: str, *, timed: bool) -> dict[str, pl.DataType]:
    """Return the columns of duplicates, with the coordinates of the record each repeats.

    Where no other table has them as they came, they are `timed`: it is known when Kafka had them.
    """
    return {
        **COORDINATES,
        id_column: pl.String(),
        "event_time": TIME,
        "first_partition": pl.Int32(),
        "first_offset": pl.Int64(),
        **({"kafka_timestamp": TIME} if timed else {}),
    }


MISSED: Final[dict[str, pl.DataType]] = {
    "step": pl.String(),
    "window_start": TIME,
    "window_end": TIME,
}
"""Columns of late records that tell the window: there is a row for each that a record missed."""


def late_columns(
    told: Sequence[str] = (), missed: Mapping[str, pl.DataType] | None = None
) -> dict[str, pl.DataType]:
    """Return the columns of late records, `told` being texts of the record's own.

    `missed` are those of what a record was too late for. `lateness_us` is how far its event time
    was behind the watermark that it was judged by.
    """
    return {
        **COORDINATES,
        **dict.fromkeys(told, pl.String()),
        "event_time": TIME,
        **(missed or {}),
        "watermark": TIME,
        "lateness_us": pl.Int64(),
    }


LATENESS_US: Final = (
    (pl.col("watermark").to_physical() - pl.col("event_time").to_physical())
    .cast(pl.Int64)
    .alias("lateness_us")
)

STAMPS: Final[dict[str, pl.DataType]] = {"flow_version": pl.String(), "written_at": TIME}
"""What the writer adds to every row; `written_at` alone may differ between reruns."""


KEPT: Final = timedelta(days=1)
"""For how long a table can be brought back to what it was, where its stream declares nothing."""

BUCKET: Final = "bucket"
"""The column by which a table is cut whose rows change."""


class Merging(Protocol):
    """How the rows of a table change: what is written are changes, what is there their result.

    That must be a function of the set of changes, whatever their order and however often each came.
    """

    def bucket_of(self, rows: pl.DataFrame) -> pl.Series:
        """Return the `BUCKET` of each row or change; one with a row that it changes."""
        ...

    def merged(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return all rows of some buckets, of those that are there and changes, with stamps."""
        ...


@dataclass(frozen=True)
class Table:
    """A table: its name under the root, its columns in order, and how rows are fenced.

    Rows "by offset" carry `COORDINATES`; rows "by window" carry a time, `closes`, and come
    when the flow's watermark reaches it plus `lateness` µs. `STAMPS` come on top of `columns`.
    Of rows "by offset" that an earlier one may have had none of, as they are of a window that is
    new, the `compared` columns tell them apart: those at or before the fence are looked up.
    `scattered` columns hold texts or fractions that hardly repeat: a dictionary of them costs
    the writer a third of its time and saves nothing. Where that is None nobody knows them, and
    what is written tells.
    `definitions` say by name what the rows that are to come are made by, and those in `fixed` what
    all rows of the table must be made by. Where there is a `merging`, rows are not added but change
    those that are there; such a table is cut by `BUCKET`.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    fenced: Literal["by offset", "by window"] = "by offset"
    partition_by: tuple[str, ...] = ()
    lateness: int = 0
    closes: str = "window_end"
    compared: tuple[str, ...] = ()
    scattered: tuple[str, ...] | None = ("payment_id",)
    definitions: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    merging: Merging | None = None

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """All columns with their types, in the table's order."""
        return {**self.columns, **STAMPS}


def newest_of(table: Table, rows: pl.DataFrame) -> float | None:
    """Return the newest time that rows are about, in s since 1970; None if they tell none."""
    times = ("event_time", table.closes, "kafka_timestamp")
    column = next((name for name in times if name in rows.columns), None)
    newest = None if column is None else rows[column].max()
    return newest.timestamp() if isinstance(newest, datetime) else None


@dataclass(frozen=True)
class Ledger:
    """The tables of a stream in which each of its records is, and others by offset.

    `records` has each record as it came, if anything has, and `good`, `repeated` and `refused` have
    it once among them; of some no record is ever `repeated`. Of good ones that are not `timed`
    nobody knows when what they tell of has happened.
    """

    records: Table | None
    good: Table
    repeated: Table | None
    refused: Table
    others: Sequence[Table] = ()
    timed: bool = True

    @property
    def counted(self) -> list[Table]:
        """Those that have each record once among them."""
        return [each for each in (self.good, self.repeated, self.refused) if each is not None]

    @property
    def read(self) -> list[Table]:
        """Those that tell when Kafka had each record."""
        return self.counted if self.records is None else [self.records]

"""Data quality: what became of the records of each source partition, minute by minute.

A partition's records are cut into stretches, which follow each other without a gap: one ends before
the first record of a newer minute of Kafka's time. Where the time goes back, as behind a record
of a clock that is ahead, it ends when none of its newest minute has come for a while. So what a
stretch is, its records alone decide.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import polars as pl

from operators.records.batches import END_OF_INPUT, Progress
from operators.records.stretches import COUNTS, Cut, Part, Stretch, cuts
from operators.records.tables import COORDINATES, TIME, Table

COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "minute": TIME,
    "first_offset": pl.Int64(),
    "stage": pl.String(),
    "code": pl.String(),
    **dict.fromkeys((*COUNTS, "violations"), pl.Int64()),
    "newest_event_time": TIME,
    "freshness_us": pl.Int64(),
}
"""A row per stretch, and one per code that some of its records broke: there, others are 0.

`source_offset` is that of the record that ended it. `newest_event_time` is of those that are valid,
and `freshness_us` how far it is behind Kafka's newest time.
"""

COUNTED: Final = "counted"
"""Told of the table: from where on its rows are."""

STATE_VERSION: Final = 1


def quality_table(name: str) -> Table:
    """Return the table of this name that has the rows."""
    compared = (*COORDINATES, "minute", "stage", "code")
    return Table(name, COLUMNS, compared=compared, definitions={COUNTED: "by minute"})


class DataQuality:
    """Counts what became of each partition's records of a topic; gives the rows of what has ended.

    `begin` says of a partition from which offset on records count, and `past` of some the parts
    that tables have between two offsets, the second left out, where this has no state of them.
    """

    def __init__(
        self,
        begin: Callable[[int], int],
        past: Callable[[Mapping[int, tuple[int, int]]], Iterable[Part]],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._begin, self._past = begin, past
        self._parts: dict[int, list[Part]] = {}
        self._progress: dict[int, Progress] = {}
        self._open: dict[int, Stretch] = {}
        self._over: set[int] = set()
        if state is not None:
            if state["version"] != STATE_VERSION:
                raise ValueError(f"data quality of state version {state['version']}")
            self._open = {p: Stretch.load(told) for p, told in state["open"]}

    def take(self, part: Part) -> None:
        """Take rows; they are counted once all of an epoch are there."""
        self._parts.setdefault(part.partition, []).append(part)

    def observe(self, progress: Progress) -> None:
        """Take how far a partition has come."""
        self._progress[progress.partition] = progress

    def settle(self) -> pl.DataFrame:
        """Count an epoch's rows; return those of `COLUMNS` of what has ended in it."""
        rows: list[tuple[Any, ...]] = []
        for partition, parts in self._with_past().items():
            if parts:
                rows += self._count(partition, parts)
        self._parts.clear()
        for partition, progress in self._progress.items():
            if partition in self._open and progress.watermark >= END_OF_INPUT:
                stretch, last = self._open.pop(partition), progress.offset
                rows += stretch.rows(progress.topic, partition, last, last + 1)
                self._over.add(partition)
        return pl.DataFrame(rows, COLUMNS, orient="row")

    def _with_past(self) -> dict[int, list[Part]]:
        """Return what is to be counted: of a partition without state, what tables have first."""
        found, begun = {}, {}
        for partition, parts in self._parts.items():
            if partition in self._open:
                found[partition] = parts
                continue
            ends = [int(each.offsets[-1]) for each in parts if each.kind == "read"]
            if ends and max(ends) >= (first := self._begin(partition)):
                read = min(int(each.offsets[0]) for each in parts if each.kind == "read")
                begun[partition] = first, max(read, first)
        for partition, progress in self._progress.items():
            if progress.watermark >= END_OF_INPUT and not (
                partition in self._open or partition in begun or partition in self._over
            ):
                # Nothing has come behind what is known of it, and nothing will.
                begun[partition] = self._begin(partition), progress.offset + 1
                self._over.add(partition)
        if not begun:
            return found
        found |= {partition: [] for partition in begun}
        for part in self._past(begun):
            found[part.partition].append(part)
        for partition, (_, first) in begun.items():
            own = [each.between(first, None) for each in self._parts.get(partition, ())]
            found[partition] += [each for each in own if each.offsets.size]
        return found

    def _count(self, partition: int, parts: list[Part]) -> list[tuple[Any, ...]]:
        read = [each for each in parts if each.kind == "read"]
        stretch = self._open.get(partition)
        if stretch is None:
            stretch = Stretch.at(read[0])
        newest, block = stretch.minute, stretch.block
        ends: list[Cut] = []
        for each in read:
            found, block = cuts(each.offsets, each.times, newest, block)
            if found:
                ends += found
                newest = found[-1].minute
        topic = self._progress[partition].topic
        rows: list[tuple[Any, ...]] = []
        for cut in ends:
            for each in parts:
                if each.offsets[0] < cut.at and each.offsets[-1] >= stretch.first:
                    stretch.add(each.between(stretch.first, cut.at))
            rows += stretch.rows(topic, partition, cut.at, cut.at)
            stretch = Stretch(cut.at, cut.minute, block)
        for each in parts:
            stretch.add(each.between(stretch.first, None) if ends else each)
        stretch.block = block
        self._open[partition] = stretch
        return rows

    def dump(self) -> dict[str, Any]:
        """Return the state."""
        told = [(partition, each.dump()) for partition, each in self._open.items()]
        return {"version": STATE_VERSION, "open": told}

"""Keyed rows on their way to their key groups, every partition's progress with them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.columns.frames import stacked
from operators.columns.times import in_micros
from operators.records.batches import Batch, Progress, merge
from operators.records.tables import LATENESS_US
from operators.state.event_time_buffer import HASH, LATE_ROWS, OFFSET, PARTITION
from operators.state.snapshots import State
from operators.steps.routing import LATE, Routed, add_rows, to_all_groups
from operators.steps.snapshots import KeyedStates, SnapshotLogic, write_shards

Keyed: TypeAlias = tuple[str, Routed | pl.DataFrame]


def route(
    batches: list[Batch],
    make: Callable[[pl.DataFrame], pl.DataFrame],
    groups: int,
    lateness: int,
    side: int = 0,
) -> list[Keyed]:
    """Return what each key group gets, and under the key LATE the late rows if there are any.

    `make` turns records into keyed rows, whose order and number may differ. Records need
    `watermark`; one whose time plus `lateness` µs is before it is late.
    """
    routed = to_all_groups([batch.progress for batch in batches], groups, side)
    frame = merge(batches)
    if frame.height == 0:
        return [*routed]
    missed: list[Keyed] = []
    late = in_micros(frame["event_time"]) + lateness < in_micros(frame["watermark"])
    if late.any():
        missed = [(LATE, _late(frame.filter(late), make))]
        frame = frame.filter(~late)
    rows = make(frame)
    add_rows(routed, rows, rows[HASH].to_numpy())
    return [*routed, *missed]


def _late(frame: pl.DataFrame, make: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Return late records as LATE_ROWS, without those that keyed rows leave out."""
    places = {"source_partition": PARTITION, "source_offset": OFFSET}
    return (
        frame.with_columns(LATENESS_US)
        .select(*LATE_ROWS)
        .join(make(frame), left_on=list(places), right_on=list(places.values()), how="semi")
    )


@dataclass(frozen=True)
class KeyedOut:
    """Streams of a keyed step: frames of results, and frames of LATE_ROWS."""

    rows: Stream[pl.DataFrame]
    late: Stream[pl.DataFrame]


class Results(Protocol):
    """What a key group's operator brings."""

    @property
    def rows(self) -> pl.DataFrame | None:
        """Results."""

    @property
    def late(self) -> pl.DataFrame | None:
        """LATE_ROWS."""


S = TypeVar("S", bound=State)


class GroupLogic(SnapshotLogic[Routed, S]):
    """A key group's operator, given all that one activation brings at once."""

    @abstractmethod
    def settle(
        self, state: S, group: int, progress: list[Progress], rows: Mapping[int, pl.DataFrame]
    ) -> Results:
        """Take progress and the rows of each side that has any."""

    def key(self, value: Routed) -> str:
        """Return the key group."""
        return str(value.group)

    def advance(self, state: S, values: list[Routed]) -> list[Any]:
        """Advance once by all slices; a true item holds results, a false one late rows."""
        progress = [each for value in values for each in value.progress]
        rows: dict[int, list[pl.DataFrame]] = {}
        for value in values:
            if value.rows is not None:
                rows.setdefault(value.side, []).append(value.rows)
        joined = {side: stacked(frames) for side, frames in rows.items()}
        found = self.settle(state, values[0].group, progress, joined)
        items = ((True, found.rows), (False, found.late))
        return [(k, f) for k, f in items if f is not None]


@operator
def settle(
    step_id: str,
    keyed: Stream[Any],
    make: Callable[[], S],
    logic: Callable[[KeyedStates[S], dict[str, Any] | None], GroupLogic[S]],
) -> KeyedOut:
    """Run a key group's operator on what `route` made.

    `make` makes an empty state, `logic` what works on it or resumes it.
    """
    name = step_id.split(".")[-2]
    keeping, counted = KeyedStates(name, make), metrics.LATE.labels(name)

    def count(items: list[pl.DataFrame]) -> list[pl.DataFrame]:
        counted.inc(sum(f.height for f in items))
        return items

    sides = op.branch("in_time", keyed, lambda item: item[0] != LATE)
    settled = op.stateful_batch("groups", sides.trues, partial(logic, keeping))
    kept = write_shards("kept", settled, keeping)
    results = op.branch("settled", kept, lambda item: item[0])
    late = op.merge(
        "all_late",
        op.map("late", sides.falses, lambda item: item[1]),
        op.map("woken", results.falses, lambda item: item[1]),
    )
    return KeyedOut(
        op.map("rows", results.trues, lambda item: item[1]),
        op.flat_map_batch("count_late", late, count),
    )

"""The features of a source partition: its watermark, and what came before by key."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, Int64s, UInt64s
from operators.columns.grouping import Sorted
from operators.columns.hashing import hash_columns
from operators.columns.times import in_micros
from operators.event_time.watermarks import Bounds, PartitionWatermark
from operators.features.compiled import Compiled, Layout, Part
from operators.features.keeps import VERSION, Keeps, history_of, totals_of
from operators.features.lanes import Conditions, Lane, nullable
from operators.features.past import Array, Past
from operators.features.totals import Totals
from operators.records.batches import NO_WATERMARK
from operators.records.tables import TIME
from operators.state.folds import NONE, is_sum, summands, turned
from operators.state.shards import Composite, Rows, Sharded
from operators.state.sliding_history import SlidingHistory

Found: TypeAlias = tuple[Array, Bools]
"""A column's values in sorted order, shape (n,), and which of them are unknown."""


class Coded(Protocol):
    """Features as code, over the whole past of the stream's key."""

    name: str
    version: int
    """Raised where what is kept of a key is of another form or meaning."""
    columns: Mapping[str, pl.DataType]
    """What it adds."""
    reads: Sequence[str]
    """Columns of the events that it needs."""
    kept: Mapping[str, np.generic]
    """What is kept of each key, with the value for a new one; no other has the same names."""

    def advance(self, past: Past, times: Int64s, read: Mapping[str, Array]) -> dict[str, Found]:
        """Return its columns for events in sorted order, and keep what it needs of them."""


class _Group:
    """What is kept of the keys that some columns make."""

    def __init__(self, layout: Layout, coded: Sequence[Coded]) -> None:
        self.layout, self._coded = layout, coded
        self._lanes = layout.lanes
        self.history: SlidingHistory | None = None
        if layout.within:
            kept = [lane.name for lane in layout.kept_lanes]
            self.history = SlidingHistory(layout.horizons, layout.asks, kept)
        self.totals: Totals | None = None
        if layout.before or coded:
            self.totals = Totals(kept_of_keys(layout, coded))

    def advance(
        self, frame: pl.DataFrame, rows: Sorted, times: Int64s, marks: Int64s,
        mark: PartitionWatermark, masks: Mapping[str, Bools], hashes: dict[str, UInt64s],
    ) -> tuple[dict[Part, Int64s], dict[Lane, Int64s], dict[str, Found]]:  # fmt: skip
        """Return parts, lanes, and columns of code, in the order of the rows."""
        order = rows.order
        own = {lane: lane.numbers(frame, times, masks, hashes) for lane in self._lanes}
        lanes = {lane: values.take(order) for lane, values in own.items()}
        times, marks = times.take(order), marks.take(order)
        found: dict[Part, Int64s] = {}
        coded: dict[str, Found] = {}
        if self.history is not None:
            columns = {lane.name: values for lane, values in lanes.items()}
            answers = self.history.advance(rows, times, columns, marks, mark.current)
            found |= zip(self.layout.within, answers, strict=True)
        if self.totals is not None:
            past = Past(self.totals, rows, times, marks, mark.bound)
            for part in self.layout.before:
                if part.fold == "count":
                    found[part] = past.count(part.column)
                elif is_sum(part.fold):
                    values = summands(lanes[part.lane], part.fold)
                    found[part] = past.sum(part.column, values)
                else:
                    values = lanes[part.lane]
                    values = turned(values) if part.fold == "min" else values
                    found[part] = past.largest(part.column, values)
            for each in self._coded:
                read = {name: frame[name].to_numpy()[order] for name in each.reads}
                coded |= each.advance(past, times, read)
            past.end()
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return (
            {part: values.take(back) for part, values in found.items()},
            own,
            {name: (values[back], unknown[back]) for name, (values, unknown) in coded.items()},
        )


def kept_of_keys(layout: Layout, coded: Sequence[Coded]) -> dict[str, np.generic]:
    """Return what is kept of each key beside events: columns with their value for a new one."""
    kept: dict[str, np.generic] = {
        part.column: np.int64(NONE if part.fold in ("min", "max") else 0)
        for part in layout.before
    }
    for each in coded:
        kept |= each.kept
    return kept


class PartitionFeatures(Composite):
    """The watermark and the keys' past of one source partition.

    State is kept per source partition, whose order is fixed, so that features depend neither
    on how partitions interleave nor on batch boundaries; a topic keyed by a stream's key has
    each key in one partition. Keys are known by the 64-bit hash of their values.
    """

    VERSION: ClassVar[int] = VERSION
    READS: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self, out_of_orderness: int | Bounds, features: Sequence[Compiled],
        layouts: Sequence[Layout], coded: Sequence[Coded], keeps: Keeps,
    ) -> None:  # fmt: skip
        """`out_of_orderness` is the watermark's bound in µs; code is by the first layout."""
        self.watermark = PartitionWatermark(out_of_orderness)
        self._features, self._coded, self._keeps = features, coded, keeps
        self._levels: dict[int, list[_Group]] = {}
        for at, layout in enumerate(layouts):
            group = _Group(layout, coded if at == 0 else ())
            self._levels.setdefault(layout.level, []).append(group)
        self._groups = [each for level in self._levels.values() for each in level]
        wheres: dict[int, set[str]] = {level: set() for level in self._levels}
        for each in features:
            if each.feature.where:
                wheres[each.level].add(each.feature.where.strip())
        self._conditions = {n: Conditions(sorted(texts)) for n, texts in wheres.items()}
        self._members: dict[str, Sharded] = {}
        for group in self._groups:
            by, level = group.layout.by, group.layout.level
            if group.history is not None:
                self._members[history_of(by, level)] = group.history
            if group.totals is not None:
                self._members[totals_of(by, level)] = group.totals

    @property
    def rows(self) -> int:
        """How many keys and events are kept."""
        return sum(
            (0 if group.totals is None else group.totals.size)
            + (0 if group.history is None else len(group.history))
            for group in self._groups
        )

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What has rows."""
        return self._members

    def advance(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows, in offset order, with `watermark` and a column for each feature.

        `watermark` is the partition's before the row, null before the first event. Rows that
        have it already are of the past, and are taken as they were judged then.
        """
        past = frame["watermark"] if "watermark" in frame.columns else None
        if past is None:
            self.watermark.settle()
        else:
            frame = frame.drop("watermark")
        if frame.height == 0:
            return frame.with_columns(
                pl.lit(None, TIME).alias("watermark"),
                *(pl.lit(None, each.dtype).alias(each.feature.name) for each in self._features),
                *(
                    pl.lit(None, dtype).alias(name)
                    for code in self._coded
                    for name, dtype in code.columns.items()
                ),
            )
        times = in_micros(frame["event_time"])
        if past is None:
            watermarks = self.watermark.advance(times, frame)
        else:
            watermarks = in_micros(past)
            self.watermark.retrace(times, watermarks, frame)
        made: dict[str, pl.Series] = {}
        rows: dict[tuple[str, ...], Sorted] = {}
        hashes: dict[str, UInt64s] = {}
        for level, groups in self._levels.items():
            # What reads features finds those of the levels before it.
            seen = frame.hstack(list(made.values())) if level else frame
            masks = self._conditions[level].masks(seen)
            for group in groups:
                by = group.layout.by
                if by not in rows:
                    rows[by] = Sorted.by(hash_columns(frame, by, hashes))
                found, own, coded = group.advance(
                    seen, rows[by], times, watermarks, self.watermark, masks, hashes
                )
                for each in self._features:
                    if (each.feature.by, each.level) == (by, level):
                        made[each.feature.name] = each.finish(found, own, times)
                for name, (values, unknown) in coded.items():
                    made[name] = nullable(name, values, unknown)
        mark = nullable("watermark", watermarks, watermarks == NO_WATERMARK).cast(TIME)
        names = [each.feature.name for each in self._features]
        names += [name for code in self._coded for name in code.columns]
        # hstack, as with_columns would hand the columns to another thread and wait for it.
        return frame.hstack([mark, *(made[name] for name in names)])

    def head(self) -> dict[str, Any]:
        """Return what is no row, as builtins, and which features the rows are of."""
        mark = self.watermark
        own = {
            "largest": mark.largest, "told": mark.told, "bound": mark.bound, "floor": mark.floor
        }  # fmt: skip
        return super().head() | own | self._keeps.head()

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before; raises StateLacksFeaturesError if it is not enough."""
        head, found = self._keeps.read(head, found)
        super().load(head, found)
        self.watermark.largest = head["largest"]
        # Heads of before states could be made anew from tables do not have it, nor the bound.
        self.watermark.told = head.get("told", NO_WATERMARK)
        self.watermark.bound = head.get("bound", self.watermark.bound)
        self.watermark.floor = head.get("floor", NO_WATERMARK)

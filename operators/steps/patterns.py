"""Patterns: records to their key groups, matches out when the watermark passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator
from polars.exceptions import PolarsError

from operators import metrics
from operators.patterns import Matched, OpenMatches, Pattern
from operators.records.batches import Batch, Progress, merge, split
from operators.records.columns import REJECT_COLUMNS
from operators.records.tables import COORDINATES
from operators.steps.keyed import GroupLogic, Keyed, route, settle


@dataclass(frozen=True)
class SequenceOut:
    """Streams of `match`: frames of matches, of LATE_ROWS and of REJECT_COLUMNS."""

    rows: Stream[pl.DataFrame]
    late: Stream[pl.DataFrame]
    rejects: Stream[pl.DataFrame]


class _Group(GroupLogic[OpenMatches]):
    def settle(
        self,
        state: OpenMatches,
        group: int,
        progress: list[Progress],
        rows: Mapping[int, pl.DataFrame],
    ) -> Matched:
        return state.advance(progress, rows.get(0))


def _failing(pattern: Pattern, frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the rows on which a condition fails, halving the frame until they stand alone."""
    try:
        pattern.rows(frame)
    except PolarsError:
        if frame.height == 1:
            return [frame]
        half = frame.height // 2
        first = _failing(pattern, frame.head(half))
        return first + _failing(pattern, frame.slice(half))
    return []


def _rejects(pattern: Pattern, failing: pl.DataFrame) -> pl.DataFrame:
    why = {
        "stage": "rule",
        "code": f"pattern_failed:{pattern.name}",
        "message": "a condition could not be evaluated; the record's bytes stand in bronze at "
        "the same offset",
    }
    made = {name: pl.lit(value) for name, value in why.items()}
    return failing.select(
        made.get(n, pl.col(n) if n in COORDINATES else pl.lit(None)).cast(kind).alias(n)
        for n, kind in REJECT_COLUMNS.items()
    )


def evaluate(batches: list[Batch], pattern: Pattern, groups: int) -> list[Any]:
    """Return what `route` does, and a frame of rejects if a condition fails on some record."""
    try:
        return list(route(batches, pattern.rows, groups, pattern.lateness))
    except PolarsError:
        failing = pl.concat(_failing(pattern, merge(batches)))
        place = ["source_partition", "source_offset"]
        good = [
            Batch(
                b.progress, b.frame.join(failing, on=place, how="anti", maintain_order="left")
            )
            for b in split(batches, merge(batches))
        ]
        routed: list[Keyed] = route(good, pattern.rows, groups, pattern.lateness)
        return [*routed, _rejects(pattern, failing)]


@operator
def match(
    step_id: str,
    up: Stream[Batch],
    pattern: Pattern,
    partitions: Mapping[str, int],
    groups: int,
) -> SequenceOut:
    """Find a pattern in records of one topic; `partitions` is its number of partitions.

    Records need `watermark`, their partition's before them. A record on which a condition
    fails is a reject and counts for nothing here.
    """

    def count(items: list[pl.DataFrame]) -> list[pl.DataFrame]:
        rejected = metrics.REJECTS.labels("rule", f"pattern_failed:{pattern.name}")
        rejected.inc(sum(frame.height for frame in items))
        return items

    shim = partial(evaluate, pattern=pattern, groups=groups)
    sides = op.branch(
        "evaluated",
        op.flat_map_batch("evaluate", up, shim),
        lambda item: isinstance(item, tuple),
    )
    found = settle("match", sides.trues, lambda: OpenMatches(pattern, partitions), _Group)
    rejects: Stream[Any] = op.flat_map_batch("count_rejects", sides.falses, count)
    return SequenceOut(found.rows, found.late, rejects)

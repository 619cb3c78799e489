"""Joins: streams of records to their key groups, results out when the watermark passes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator
from bytewax.operators import StatefulBatchLogic

from operators.columns.hashing import key_groups
from operators.joins import (
    IntervalJoin,
    Joined,
    OpenIntervals,
    OpenVersions,
    TemporalJoin,
    Together,
)
from operators.metrics import observe_state
from operators.records.batches import Batch, Progress
from operators.state.event_time_buffer import HASH, Side
from operators.steps.keyed import GroupLogic, Keyed, KeyedOut, route, settle
from operators.steps.routing import by_partition, to_all_groups
from operators.steps.snapshots import KeyedStates


class _Intervals(GroupLogic[OpenIntervals]):
    def settle(
        self,
        state: OpenIntervals,
        group: int,
        progress: list[Progress],
        rows: Mapping[int, pl.DataFrame],
    ) -> Joined:
        return state.advance(progress, rows.get(0), rows.get(1))


class _Versions(GroupLogic[OpenVersions]):
    """With versions known from the start, a key group's come with its number."""

    def __init__(
        self,
        keeping: KeyedStates[OpenVersions],
        head: dict[str, Any] | None,
        known: pl.DataFrame | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__(keeping, head)
        self._known, self._groups = known if head is None else None, groups

    def settle(
        self,
        state: OpenVersions,
        group: int,
        progress: list[Progress],
        rows: Mapping[int, pl.DataFrame],
    ) -> Joined:
        versions = rows.get(1)
        if self._known is not None:
            groups = key_groups(self._known[HASH].to_numpy(), self._groups)
            versions = self._known.filter(pl.Series(groups == group))
            self._known = None
        return state.advance(progress, rows.get(0), versions)


@operator
def interval_join(
    step_id: str,
    left: Stream[Batch],
    right: Stream[Batch],
    join: IntervalJoin,
    partitions: Mapping[str, int],
    groups: int,
) -> KeyedOut:
    """Pair records of two topics; `partitions` is each topic's number of partitions.

    Records need `watermark`, their partition's before them. Raises ValueError if both sides
    are one topic: its progress would come with the first side's records and close what the
    second's still need.
    """
    both = _both(left, right, join, join.right, partitions, groups)
    return settle("join", both, lambda: OpenIntervals(join, partitions), _Intervals)


@operator
def temporal_join(
    step_id: str,
    left: Stream[Batch],
    right: Stream[Batch],
    join: TemporalJoin,
    partitions: Mapping[str, int],
    groups: int,
    *others: Stream[Batch],
) -> KeyedOut:
    """Give each record of `left` the version of `right` as of its event time.

    It waits for `others` too, the records of what more topics there are partitions of: joins that
    all wait for the same have settled the same records at an epoch's end. As `interval_join` else.
    """
    both = _both(left, right, join, join.versions, partitions, groups)
    told = [
        op.flat_map_batch(
            f"other_{n}",
            each,
            lambda batches: to_all_groups([batch.progress for batch in batches], groups),
        )
        for n, each in enumerate(others)
    ]
    all_ = op.merge("all", both, *told)
    return settle("join", all_, lambda: OpenVersions(join, partitions), _Versions)


@operator
def enrich(
    step_id: str,
    up: Stream[Batch],
    join: TemporalJoin,
    versions: pl.DataFrame,
    partitions: Mapping[str, int],
    groups: int,
) -> KeyedOut:
    """Give each record the version as of its event time in a table known from the start.

    `versions` has the columns that `join.right` names, `event_time` (valid from) and
    coordinates: a Delta table at one of its versions, say. It becomes part of the state, so a
    resumed flow goes on with the table it began with and a replay comes to the same rows.
    """
    logic = partial(_Versions, known=join.versions.rows(versions), groups=groups)
    rows = partial(route, make=join.left.rows, groups=groups, lateness=join.lateness)
    lefts = op.flat_map_batch("left", up, rows)
    return settle("join", lefts, lambda: OpenVersions(join, partitions), logic)


def _both(
    left: Stream[Batch],
    right: Stream[Batch],
    join: IntervalJoin | TemporalJoin,
    theirs: Side,
    partitions: Mapping[str, int],
    groups: int,
) -> Stream[Keyed]:
    _check(join, partitions)
    lefts = partial(route, make=join.left.rows, groups=groups, lateness=join.lateness)
    rights = partial(route, make=theirs.rows, groups=groups, lateness=join.lateness, side=1)
    return op.merge(
        "both",
        op.flat_map_batch("left", left, lefts),
        op.flat_map_batch("right", right, rights),
    )


def _check(join: IntervalJoin | TemporalJoin, partitions: Mapping[str, int]) -> None:
    if join.left.topic == join.right.topic:
        raise ValueError(f"both sides of the join read {join.left.topic!r}")
    missing = {join.left.topic, join.right.topic} - set(partitions)
    if missing:
        raise ValueError(f"the partitions of {sorted(missing)} are not given")


class _TogetherLogic(StatefulBatchLogic[Any, pl.DataFrame, dict[str, Any]]):
    def __init__(self, step: str, steps: int, state: dict[str, Any] | None) -> None:
        self._step, self._key = step, ""
        self._rows = Together(steps, state)

    def on_batch(self, values: list[Any]) -> tuple[list[pl.DataFrame], bool]:
        for value in values:
            if isinstance(value, Progress):
                self._key = str(value.partition)
            else:
                self._rows.add(*value)
        found = self._rows.take()
        return [] if found is None else [found], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        state = self._rows.dump()
        observe_state(self._step, self._key, self._rows.waiting, state)
        return state


def together(
    name: str, up: Stream[Batch], made: Sequence[Stream[pl.DataFrame]]
) -> Stream[pl.DataFrame]:
    """Return what several steps have `made` of records of `up` as one row of each record.

    Each has made one row, or none of them has, with the record's coordinates; see `Together`.
    `name` begins the steps' names.
    """
    # Each epoch touches every partition's state.
    keyed: list[Stream[Any]] = [
        op.map(f"{name}_progress", up, lambda b: (str(b.progress.partition), b.progress))
    ]
    keyed += [
        op.flat_map(f"{name}_{step}", rows, partial(_of_partitions, step))
        for step, rows in enumerate(made)
    ]
    rows = op.stateful_batch(
        name,
        op.merge(f"{name}_all", *keyed),
        lambda state: _TogetherLogic(name, len(made), state),
    )
    return op.key_rm(f"{name}_rows", rows)


def _of_partitions(step: int, rows: pl.DataFrame) -> list[tuple[str, tuple[int, pl.DataFrame]]]:
    return [(str(p), (step, mine)) for p, mine in by_partition(rows, "source_partition")]

"""Joins: two streams of records to their key groups, results out when the watermark passes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Stream, operator

from operators.batches import Batch, Progress
from operators.hashing import key_groups
from operators.joins import IntervalJoin, Joined, OpenIntervals, OpenVersions, TemporalJoin
from operators.steps.keyed import GroupLogic, Keyed, KeyedOut, route, settle
from operators.waiting import HASH, Side


class _Group(GroupLogic):
    def __init__(self, step: str, open_: OpenIntervals | OpenVersions) -> None:
        super().__init__(step, open_)
        self._open = open_

    def advance(
        self, group: int, progress: list[Progress], rows: Mapping[int, pl.DataFrame]
    ) -> Joined:
        return self._open.advance(progress, rows.get(0), rows.get(1))


class _Enriched(GroupLogic):
    """A key group of a table known from the start: its versions come with its number."""

    def __init__(
        self, step: str, open_: OpenVersions, versions: pl.DataFrame | None, groups: int
    ) -> None:
        super().__init__(step, open_)
        self._open, self._versions, self._groups = open_, versions, groups

    def advance(
        self, group: int, progress: list[Progress], rows: Mapping[int, pl.DataFrame]
    ) -> Joined:
        mine, self._versions = self._versions, None
        if mine is not None:
            groups = key_groups(mine[HASH].to_numpy(), self._groups)
            mine = mine.filter(pl.Series(groups == group))
        return self._open.advance(progress, rows.get(0), mine)


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

    def build(step: str, state: dict[str, Any] | None) -> _Group:
        if state is None:
            return _Group(step, OpenIntervals(join, partitions))
        return _Group(step, OpenIntervals.load(join, partitions, state))

    return settle("join", _both(left, right, join, join.right, partitions, groups), build)


@operator
def temporal_join(
    step_id: str,
    left: Stream[Batch],
    right: Stream[Batch],
    join: TemporalJoin,
    partitions: Mapping[str, int],
    groups: int,
) -> KeyedOut:
    """Give each record of `left` the version of `right` as of its event time.

    As `interval_join` else.
    """

    def build(step: str, state: dict[str, Any] | None) -> _Group:
        if state is None:
            return _Group(step, OpenVersions(join, partitions))
        return _Group(step, OpenVersions.load(join, partitions, state))

    return settle("join", _both(left, right, join, join.versions, partitions, groups), build)


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
    known = join.versions.rows(versions)

    def build(step: str, state: dict[str, Any] | None) -> _Enriched:
        if state is None:
            return _Enriched(step, OpenVersions(join, partitions), known, groups)
        return _Enriched(step, OpenVersions.load(join, partitions, state), None, groups)

    rows = partial(route, make=join.left.rows, groups=groups, lateness=join.lateness)
    return settle("join", op.flat_map_batch("left", up, rows), build)


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

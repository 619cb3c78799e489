"""Routing: rows to the key groups that have their keys, every partition's progress with them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Bools, UInt64s
from operators.columns.frames import taken
from operators.columns.grouping import differs
from operators.columns.hashing import key_groups
from operators.records.batches import Progress

LATE: Final = "late"
"""The key of late rows, which no key group has."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What one activation brings to a key group: everyone's progress, and its own rows.

    `side` tells the streams of a join apart: 0 is the left or only one.
    """

    group: int
    side: int
    progress: list[Progress]
    rows: pl.DataFrame | None


def to_all_groups(
    progress: list[Progress], groups: int, side: int = 0
) -> list[tuple[str, Routed]]:
    """Return what every key group gets, so that a key that falls silent settles all the same."""
    return [(str(group), Routed(group, side, progress, None)) for group in range(groups)]


def add_rows(
    routed: list[tuple[str, Routed]],
    rows: pl.DataFrame,
    hashes: UInt64s,
    counts: Bools | None = None,
) -> None:
    """Give each group its rows, in their order; those that do not count, if told, are left out.

    `hashes` are the keys', `counts` tells of each row whether it does; both have shape (n,).
    """
    groups = len(routed)
    group = key_groups(hashes, groups)
    if counts is None:
        order = np.argsort(group, kind="stable")
    else:
        counted = np.flatnonzero(counts)
        group = group[counted]
        order = counted[np.argsort(group, kind="stable")]
    rows, start = taken(rows, order), 0
    for index, size in enumerate(np.bincount(group, minlength=groups).tolist()):
        if size:
            key, empty = routed[index]
            mine = rows.slice(start, size)
            routed[index] = key, Routed(index, empty.side, empty.progress, mine)
        start += size


def by_partition(rows: pl.DataFrame, column: str) -> list[tuple[int, pl.DataFrame]]:
    """Return rows by the partition that a column names, in their order."""
    partitions = rows[column].to_numpy()
    if (partitions[1:] < partitions[:-1]).any():
        order = np.argsort(partitions, kind="stable")
        rows, partitions = taken(rows, order), partitions[order]
    starts = np.flatnonzero(differs(partitions)).tolist()
    return [
        (int(partitions[start]), rows.slice(start, end - start))
        for start, end in pairwise([*starts, rows.height])
    ]

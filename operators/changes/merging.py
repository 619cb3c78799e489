"""Merging: what a table of rows comes to with more changes.

What a table holds is a function of the set of changes, however often each came, in how many
pieces, and whatever partition was ahead. Changes with a sequence are the states of their key's row:
of those with one sequence the last counts, by topic, partition and offset. A tombstone has no
sequence, and its time is only when Kafka had it: it deletes what its key's states in its own
partition were before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import polars as pl

from operators.changes.spec import ADDED, DELETED, EVENT_TIME, SEQUENCE, Changes
from operators.columns.hashing import hash_columns
from operators.records.tables import BUCKET, COORDINATES, STAMPS, TIME

CHANGED: Final = "changed_at"
TOMBSTONE: Final = "tombstone_at"
FROM: Final = "effective_from"
TO: Final = "effective_to"
IS_CURRENT: Final = "is_current"

MADE: Final = (TOMBSTONE, FROM, TO, IS_CURRENT)
"""The columns that are of several changes."""

_ORDER: Final = [SEQUENCE, *COORDINATES]
_PARTITION: Final = ("source_topic", "source_partition")
_OFFSET: Final = "source_offset"
_RANK, _AT, _OLD, _OTHER = "_rank", "_at", "_old", "_other"
_HALF: Final = np.uint64(32)


@dataclass(frozen=True)
class _Merging(ABC):
    """A table's rows, known by `by`, of so many `buckets`; `fields` are those of a row."""

    by: tuple[str, ...]
    fields: Mapping[str, pl.DataType]
    buckets: int
    state: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def columns(self) -> dict[str, pl.DataType]:
        """The table's columns, without the writer's stamps."""

    @property
    def kept(self) -> dict[str, pl.DataType]:
        """The columns of a row but for its keeper's own, as there and in changes alike."""
        own = {name: kind for name, kind in self.fields.items() if name != EVENT_TIME}
        return {**own, CHANGED: TIME, **ADDED, **COORDINATES, **STAMPS}

    def bucket_of(self, rows: pl.DataFrame) -> pl.Series:
        """Return the bucket of each row."""
        found = (hash_columns(rows, self.by) >> _HALF) % np.uint64(self.buckets)
        return pl.Series(BUCKET, found.astype(np.int64))

    def merged(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of some buckets with the changes that belong there.

        `there` are all their rows, `changes` have the columns of `Changes` and of `STAMPS`.
        """
        # A field that is declared no more, or somebody's own column, stays with what has it.
        more = {n: t for n, t in there.schema.items() if n not in {*self.columns, *STAMPS}}
        kept = self.kept | more
        nothing = [pl.lit(None, kind).alias(name) for name, kind in more.items()]
        given = changes.rename({EVENT_TIME: CHANGED}).with_columns(nothing).select(*kept)
        keys = given.select(self.by).unique()
        touched = there.join(keys, on=self.by, how="semi")
        others = there.join(keys, on=self.by, how="anti")
        rows = self.made(touched.select(*kept, *self.state), given)
        rows = rows.with_columns(self.bucket_of(rows))
        return pl.concat([others.select(rows.columns), rows])

    @abstractmethod
    def made(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the keys that have changed; both are all that there is of these.

        Beside what changes have, `there` has the columns of `state`.
        """

    def _cleared(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows of which the deleted ones have nothing but their key."""
        others = [name for name in self.fields if name not in (*self.by, EVENT_TIME)]
        there = ~pl.col(DELETED)
        return rows.with_columns(
            pl.when(there).then(pl.col(each)).alias(each) for each in others
        )


class Current(_Merging):
    """Each key's row as it is now; of one that was deleted its key and the rest of the change."""

    state = (TOMBSTONE,)

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The table's columns, without the writer's stamps."""
        kept = {name: kind for name, kind in self.kept.items() if name not in STAMPS}
        return {**kept, TOMBSTONE: TIME, BUCKET: pl.Int64()}

    def made(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return a row for each key that has a state: the last, unless a tombstone is behind it.

        The changes of a partition must come in its order, as of rows it is not kept what else was.
        """
        none = pl.lit(None, TIME).alias(TOMBSTONE)
        fresh = changes.drop_nulls(SEQUENCE).with_columns(none, pl.lit(value=False).alias(_OLD))
        old = there.with_columns(pl.lit(value=True).alias(_OLD))
        states = pl.concat([old, fresh.select(old.columns)])
        # The one that is there, where it came again, as that may be deleted by now.
        last = states.sort(*_ORDER, _OLD).unique(self.by, keep="last", maintain_order=True)
        stones = changes.filter(pl.col(SEQUENCE).is_null())
        behind = last.join(stones, on=[*self.by, *_PARTITION], suffix=_OTHER)
        behind = behind.filter(pl.col(_OFFSET) < pl.col(f"{_OFFSET}{_OTHER}"))
        at = behind.group_by(self.by).agg(pl.col(f"{CHANGED}{_OTHER}").max().alias(_AT))
        rows = last.join(at, on=self.by, how="left")
        rows = rows.with_columns(pl.max_horizontal(TOMBSTONE, _AT).alias(TOMBSTONE))
        gone = pl.col(DELETED) | pl.col(TOMBSTONE).is_not_null()
        return self._cleared(rows.with_columns(gone.alias(DELETED)).drop(_OLD, _AT))


class History(_Merging):
    """Each key's rows as they have been, from when to when, its deletions included.

    `effective_from` is the latest time among a row's and those of the rows before it, so that no
    two rows of a key are valid at once, whatever their clocks said; a row may be valid never. A
    tombstone comes right behind the highest sequence of the states that it deletes, at the time of
    the next state if Kafka had it later.
    """

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The table's columns, without the writer's stamps."""
        kept = {name: kind for name, kind in self.kept.items() if name not in STAMPS}
        own = {FROM: TIME, TO: TIME, IS_CURRENT: pl.Boolean()}
        return {**kept, **own, BUCKET: pl.Int64()}

    def made(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return a row for each state and tombstone, in their order."""
        rows = pl.concat([there, changes]).sort(*COORDINATES)
        states = rows.drop_nulls(SEQUENCE).unique([*self.by, SEQUENCE], keep="last")
        stones = rows.filter(pl.col(SEQUENCE).is_null()).unique([*self.by, *COORDINATES])
        place = [*self.by, *_PARTITION]
        before = stones.select(*place, _OFFSET).join(
            states.select(*place, pl.col(_OFFSET).alias(_AT), pl.col(SEQUENCE).alias(_RANK)),
            on=place,
        )
        before = before.filter(pl.col(_AT) < pl.col(_OFFSET))
        ranks = before.group_by(*place, _OFFSET).agg(pl.col(_RANK).max())
        ranked = pl.concat(
            [
                states.with_columns(pl.col(SEQUENCE).alias(_RANK)),
                stones.join(ranks, on=[*place, _OFFSET], how="left"),
            ]
        )
        stone = pl.col(SEQUENCE).is_null()
        rows = ranked.sort(*self.by, _RANK, stone, *COORDINATES, nulls_last=False).drop(_RANK)
        time = pl.when(~stone).then(CHANGED)
        following = time.shift(-1).backward_fill().over(self.by)
        at = pl.when(stone).then(pl.min_horizontal(CHANGED, following)).otherwise(CHANGED)
        rows = rows.with_columns(at.alias(_AT))
        rows = rows.with_columns(pl.col(_AT).cum_max().over(self.by).alias(FROM)).drop(_AT)
        rows = rows.with_columns(pl.col(FROM).shift(-1).over(self.by).alias(TO))
        last = pl.int_range(pl.len()).over(self.by) == pl.len().over(self.by) - 1
        return self._cleared(rows.with_columns((last & ~pl.col(DELETED)).alias(IS_CURRENT)))


def merging(changes: Changes, fields: Mapping[str, pl.DataType]) -> Current | History:
    """Return how the table of changes of rows of these fields comes about.

    Raises ValueError for fields with the name of a column that it has besides.
    """
    own = {CHANGED, *MADE, BUCKET, *COORDINATES, *STAMPS}
    if taken := sorted(own & {*fields}):
        raise ValueError(
            f"fields have the names of the table's own columns: {', '.join(taken)}"
        )
    kind = Current if changes.keeps == "current" else History
    return kind(changes.by, fields, changes.buckets)

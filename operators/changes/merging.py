"""Merging: what a table of rows comes to with more changes.

What a table holds is a function of the set of changes, whatever order they came in, however often
and in how many pieces. Changes with a sequence are the states of their key's row: of those with one
sequence the last counts, by topic, partition and offset. A tombstone has no sequence. It deletes
what its key was by its time: it comes right behind the highest sequence of those with no later
time.
"""

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
_RANK: Final = "_rank"
_HALF: Final = np.uint64(32)


@dataclass(frozen=True)
class _Merging:
    """A table's rows, known by `by`, of so many `buckets`; `fields` are those of a row."""

    by: tuple[str, ...]
    fields: Mapping[str, pl.DataType]
    buckets: int
    state: ClassVar[tuple[str, ...]] = ()

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The table's columns, without the writer's stamps."""
        raise NotImplementedError

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

    def made(self, there: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the keys that have changed; both are all that there is of these.

        Beside what changes have, `there` has the columns of `state`.
        """
        raise NotImplementedError

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
        """Return a row for each key: its last state, unless its last tombstone is no earlier."""
        none = pl.lit(None, TIME).alias(TOMBSTONE)
        rows = pl.concat([there, changes.with_columns(none).select(there.columns)])
        states = rows.drop_nulls(SEQUENCE).sort(_ORDER)
        last = states.unique(self.by, keep="last", maintain_order=True).drop(TOMBSTONE)
        stones = rows.with_columns(
            pl.when(pl.col(SEQUENCE).is_null())
            .then(pl.col(CHANGED))
            .otherwise(pl.col(TOMBSTONE))
            .alias(TOMBSTONE)
        ).drop_nulls(TOMBSTONE)
        stones = stones.sort(TOMBSTONE, *COORDINATES)
        stones = stones.unique(self.by, keep="last", maintain_order=True)
        alone = stones.join(last, on=self.by, how="anti")
        both = last.join(stones.select(*self.by, TOMBSTONE), on=self.by, how="left")
        found = pl.concat([both.select(alone.columns), alone])
        ended = (pl.col(TOMBSTONE) >= pl.col(CHANGED)).fill_null(value=False)
        return self._cleared(found.with_columns(pl.col(DELETED) | ended))


class History(_Merging):
    """Each key's rows as they have been, from when to when, its deletions included.

    `effective_from` is the latest time among a row's and those of the rows before it, so that no
    two rows of a key are valid at once, whatever their clocks said; a row may be valid never.
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
        stones = rows.filter(pl.col(SEQUENCE).is_null())
        stones = stones.unique([*self.by, CHANGED], keep="last")
        before = stones.select(*self.by, CHANGED).join(
            states.select(
                *self.by, pl.col(CHANGED).alias("_at"), pl.col(SEQUENCE).alias(_RANK)
            ),
            on=self.by,
        )
        before = before.filter(pl.col("_at") <= pl.col(CHANGED))
        ranks = before.group_by(*self.by, CHANGED).agg(pl.col(_RANK).max())
        ranked = pl.concat(
            [
                states.with_columns(pl.col(SEQUENCE).alias(_RANK)),
                stones.join(ranks, on=[*self.by, CHANGED], how="left"),
            ]
        )
        order = [*self.by, _RANK, pl.col(SEQUENCE).is_null(), CHANGED]
        rows = ranked.sort(order, nulls_last=False).drop(_RANK)
        began = pl.col(CHANGED).cum_max().over(self.by)
        rows = rows.with_columns(began.alias(FROM))
        rows = rows.with_columns(pl.col(FROM).shift(-1).over(self.by).alias(TO))
        last = pl.int_range(pl.len()).over(self.by) == pl.len().over(self.by) - 1
        return self._cleared(rows.with_columns((last & ~pl.col(DELETED)).alias(IS_CURRENT)))


def merging(changes: Changes, fields: Mapping[str, pl.DataType]) -> Current | History:
    """Return how the table of changes of rows of these fields comes about."""
    kind = Current if changes.keeps == "current" else History
    return kind(changes.by, fields, changes.buckets)

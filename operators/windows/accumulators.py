"""Accumulators: what a window's rows are reduced to before it closes, merged in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.frames import stacked, taken
from operators.windows.agg import Aggregate, refuse_inexact
from operators.windows.results import WIDE, result, sketch_name, sketch_of
from operators.windows.sketches import SKETCHES, Sketch

ORDER: Final = ("event_time", "source_partition", "source_offset")
"""What decides between first and last records."""

KEY_HASH: Final = "hash of key"
"""A 64-bit hash of the `by` columns, UInt64, which every row and partial carries."""

_WORTH: Final = 0.5
"""From this share on, taking what is alone of its key out is worth it."""

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class _Column:
    """A partial column: how it comes from one record, from several, and from partials."""

    of_row: pl.Expr
    of_rows: pl.Expr
    of_partials: pl.Expr


class Accumulators:
    """Reduces rows to partial aggregates per key, merges them, and finishes them.

    A frame of partials has the `by` columns, HASH, `marks`, which are Int64 columns such as
    the slice, and a column per thing to know, named after it: several aggregates may share
    one. Of a million keys most have one record at a time: what is alone of its key is reduced
    column by column, and only the rest in groups.
    """

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate],
        schema: Mapping[str, pl.DataType],
        by: Sequence[str],
    ) -> None:
        """Raise InexactError; `schema` has the types of the aggregates' columns."""
        refuse_inexact(schema, aggregates)
        self._aggregates, self._by = dict(aggregates), list(by)
        self._columns: dict[str, _Column] = {}
        self._ordered: set[str] = set()
        self._sketched: dict[str, tuple[Sketch, int]] = {}
        self._decimal = {name for name, dtype in schema.items() if dtype.is_decimal()}
        self._wide: set[str] = set()
        columns = [each.column for each in aggregates.values() if each.column]
        self.types = pl.DataFrame(schema={name: schema[name] for name in columns})
        for each in aggregates.values():
            self._need(each)

    def _need(self, each: Aggregate) -> None:
        column, value = each.column, pl.col(each.column or "")
        # 128 bits have room for any sum of Int64; decimals have 38 digits anyway.
        wide = value if column in self._decimal else value.cast(WIDE)
        some = value.is_not_null()
        match each.kind:
            case "count":
                self._add("count", pl.lit(1, pl.Int64), pl.len().cast(pl.Int64), "sum")
            case "sum" | "mean" | "stddev":
                self._add(f"sum {column}", wide.fill_null(0), wide.sum(), "sum")
                if column not in self._decimal:
                    self._wide |= {f"sum {column}", f"squares {column}"}
                self._add(
                    f"values {column}",
                    some.cast(pl.Int64),
                    value.count().cast(pl.Int64),
                    "sum",
                )
                if each.kind == "stddev":
                    square = wide * wide
                    self._add(f"squares {column}", square.fill_null(0), square.sum(), "sum")
            case "min" | "max":
                self._add(
                    f"{each.kind} {column}", value, getattr(value, each.kind)(), each.kind
                )
            case "first" | "last":
                name = f"{each.kind} {column}"
                row = pl.when(some).then(pl.struct(*ORDER, value.alias("value")))
                by_rank = "min_by" if each.kind == "first" else "max_by"
                ranked = getattr(pl.col(name), by_rank)(pl.col(_rank_of(name)))
                self._columns[name] = _Column(row, ranked, ranked)
                self._ordered.add(name)
            case "distinct" | "quantile":
                name = sketch_name(each)
                values = value.drop_nulls()
                merged = pl.col(name).explode(keep_nulls=False, empty_as_null=False)
                if each.kind == "distinct":
                    values, merged = values.unique(), merged.unique()
                self._columns[name] = _Column(pl.concat_list(value), values, merged)
                self._sketched[name] = (SKETCHES[each.kind], each.exact)

    def _add(self, name: str, of_row: pl.Expr, of_rows: pl.Expr, merged_by: str) -> None:
        self._columns[name] = _Column(of_row, of_rows, getattr(pl.col(name), merged_by)())

    def restored(self, partials: pl.DataFrame | None) -> pl.DataFrame | None:
        """Return partials from Arrow with their 128-bit integers, which it has as decimals."""
        if partials is None:
            return None
        return partials.with_columns(
            pl.col(name).cast(WIDE) for name in self._wide if name in partials.columns
        )

    def columns(self, marks: Sequence[str]) -> list[str]:
        """Return the columns of partials by these marks, in order."""
        return [*self._by, KEY_HASH, *marks, *self._columns, *map(sketch_of, self._sketched)]

    def reduce(self, rows: pl.DataFrame, marks: Sequence[str]) -> pl.DataFrame:
        """Return the partials of records, a row per key and value of `marks`."""
        alone = self._alone(rows, marks)
        if alone.all():
            return self._of_single(rows, marks)
        if alone.mean() < _WORTH:
            return self._of_several(rows, marks)
        single = self._of_single(taken(rows, np.flatnonzero(alone)), marks)
        several = self._of_several(taken(rows, np.flatnonzero(~alone)), marks)
        return stacked([single, several])

    def reduce_shared(
        self, rows: pl.DataFrame, marks: Sequence[str]
    ) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
        """Return the records that are alone of their key and marks, and partials of the others.

        What is alone stays as it came where a partial has structs and lists, and so takes four
        times as much as a record; else all are reduced.
        """
        if not self._ordered and not self._sketched:
            return None, self.reduce(rows, marks)
        alone = self._alone(rows, marks)
        if alone.all():
            return rows, None
        if not alone.any():
            return None, self._of_several(rows, marks)
        several = taken(rows, np.flatnonzero(~alone))
        return taken(rows, np.flatnonzero(alone)), self._of_several(several, marks)

    def _of_single(self, rows: pl.DataFrame, marks: Sequence[str]) -> pl.DataFrame:
        made = rows.select(
            *self._by, KEY_HASH, *marks, *(c.of_row.alias(n) for n, c in self._columns.items())
        )
        nulls = [
            pl.col(name).list.drop_nulls()
            for name in self._sketched
            if rows[name.split(" ", 2)[2]].null_count()
        ]
        made = made.with_columns(
            *nulls, *(pl.lit(None, pl.Binary).alias(sketch_of(n)) for n in self._sketched)
        )
        return (
            made if all(bound for _, bound in self._sketched.values()) else self._bounded(made)
        )

    def _of_several(self, rows: pl.DataFrame, marks: Sequence[str]) -> pl.DataFrame:
        if self._ordered:
            rows = rows.with_columns(
                self._columns[name].of_row.alias(name) for name in self._ordered
            )
        made = self._grouped(rows, [*self._by, *marks]).agg(
            pl.col(KEY_HASH).first(), **{n: c.of_rows for n, c in self._columns.items()}
        )
        empty = [pl.lit(None, pl.Binary).alias(sketch_of(name)) for name in self._sketched]
        made = self._bounded(made.with_columns(empty) if empty else made)
        return made[self.columns(marks)]

    def merge(self, partials: pl.DataFrame, marks: Sequence[str]) -> pl.DataFrame:
        """Return partials merged, a row per key and value of `marks`."""
        alone = self._alone(partials, marks)
        columns = self.columns(marks)
        if alone.all():
            return partials[columns]
        split = alone.mean() >= _WORTH
        several = taken(partials, np.flatnonzero(~alone)) if split else partials
        merged = self._grouped(several, [*self._by, *marks]).agg(
            pl.col(KEY_HASH).first(),
            **{name: column.of_partials for name, column in self._columns.items()},
            **{
                sketch_of(name): pl.col(sketch_of(name)).drop_nulls() for name in self._sketched
            },
        )
        merged = self._bounded(merged)[columns]
        if not split:
            return merged
        return stacked([taken(partials[columns], np.flatnonzero(alone)), merged])

    def _grouped(self, frame: pl.DataFrame, keys: Sequence[str]) -> Any:
        """Group rows by `keys`, with the rank of what the first and last ones come from."""
        ranks = [_ranks(frame[name]).alias(_rank_of(name)) for name in self._ordered]
        return (frame.with_columns(ranks) if ranks else frame).group_by(keys)

    def _alone(self, frame: pl.DataFrame, marks: Sequence[str]) -> Any:
        """Tell which rows share their key and marks with no other, shape (n,).

        Equal keys have equal hashes: a hash that is there once is a key that is there once.
        """
        mixed = frame[KEY_HASH].to_numpy()
        for mark in marks:
            mixed = (mixed ^ frame[mark].to_numpy().view(np.uint64)) * _MIX
            mixed ^= mixed >> np.uint64(32)
        order = np.argsort(mixed)
        ordered = mixed[order]
        edges = np.ones(len(ordered) + 1, bool)
        np.not_equal(ordered[1:], ordered[:-1], out=edges[1:-1])
        alone = np.empty(len(ordered), bool)
        alone[order] = edges[1:] & edges[:-1]
        return alone

    def _bounded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Turn values beyond their bound into sketches, row by row: such rows are few."""
        for name, (sketch, bound) in self._sketched.items():
            kept = sketch_of(name)
            several = frame.schema[kept] == pl.List(pl.Binary)
            old = pl.col(kept).list.len() > 0 if several else pl.col(kept).is_not_null()
            full = (pl.col(name).list.len() > bound) | old
            one = pl.lit(None, pl.Binary).alias(kept)
            heavy = frame.filter(full)
            if heavy.height == 0:
                frame = frame.with_columns(one) if several else frame
                continue
            light = frame.filter(~full).with_columns(one)
            others = (
                heavy[kept].to_list() if several else [[s] if s else [] for s in heavy[kept]]
            )
            made = [
                sketch.of(values, mine)
                for values, mine in zip(heavy[name], others, strict=True)
            ]
            none = pl.Series(name, [[]] * heavy.height, dtype=frame.schema[name])
            heavy = heavy.with_columns(none, pl.Series(kept, made, dtype=pl.Binary))
            frame = pl.concat([light, heavy.select(light.columns)])
        return frame

    def finish(self, partials: pl.DataFrame) -> list[pl.Series]:
        """Return the aggregates of merged partials, a series per aggregate."""
        return [
            result(partials, each, decimal=each.column in self._decimal).alias(name)
            for name, each in self._aggregates.items()
        ]


def _ranks(rows: pl.Series) -> pl.Series:
    """Return the place of each struct of ORDER among all, null where it is null."""
    frame = rows.struct.unnest()
    time, partition, offset = (frame[name].to_physical().fill_null(0) for name in ORDER)
    ranks = np.empty(len(rows), np.int64)
    order = np.lexsort((offset.to_numpy(), partition.to_numpy(), time.to_numpy()))
    ranks[order] = np.arange(len(rows))
    series = pl.Series(ranks)
    return series.set(rows.is_null(), None) if rows.null_count() else series


def _rank_of(name: str) -> str:
    return f"rank of {name}"

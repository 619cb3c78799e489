"""Partials: what a window's rows are reduced to before it closes, merged in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from operators.windows.agg import Aggregate, refuse_inexact
from operators.windows.sketches import HyperLogLog, LogHistogram, Sketch

ORDER: Final = ("event_time", "source_partition", "source_offset")
"""What decides between first and last records."""

_WIDE: Final = pl.Int128()
_SKETCHES: Final[dict[str, Sketch]] = {"distinct": HyperLogLog(), "quantile": LogHistogram()}


@dataclass(frozen=True)
class _Column:
    """A partial column: how it comes from records, and from partials of the same name."""

    of_rows: pl.Expr
    of_partials: pl.Expr


class Partials:
    """Reduces rows to partial aggregates per key, merges them, and finishes them.

    A frame of partials has the given keys and a column per thing to know, named after it:
    several aggregates may share one.
    """

    def __init__(
        self, aggregates: Mapping[str, Aggregate], schema: Mapping[str, pl.DataType]
    ) -> None:
        """Raise InexactError; `schema` has the types of the aggregates' columns."""
        refuse_inexact(schema, aggregates)
        self._aggregates = dict(aggregates)
        self._columns: dict[str, _Column] = {}
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
        wide = value if column in self._decimal else value.cast(_WIDE)
        match each.kind:
            case "count":
                self._add("count", pl.len().cast(pl.Int64), "sum")
            case "sum" | "mean" | "stddev":
                self._add(f"sum {column}", wide.sum(), "sum")
                if column not in self._decimal:
                    self._wide |= {f"sum {column}", f"squares {column}"}
                self._add(f"values {column}", value.count().cast(pl.Int64), "sum")
                if each.kind == "stddev":
                    self._add(f"squares {column}", (wide * wide).sum(), "sum")
            case "min" | "max":
                self._add(f"{each.kind} {column}", getattr(value, each.kind)(), each.kind)
            case "first" | "last":
                name = f"{each.kind} {column}"
                some, partial = value.is_not_null(), pl.col(name)
                row = pl.struct(*ORDER, value.alias("value")).filter(some)
                row = row.sort_by(*(pl.col(part).filter(some) for part in ORDER))
                kept = partial.filter(partial.is_not_null())
                kept = kept.sort_by(*(kept.struct.field(part) for part in ORDER))
                self._columns[name] = _Column(
                    getattr(row, each.kind)(), getattr(kept, each.kind)()
                )
            case "distinct" | "quantile":
                name = _sketch_name(each)
                values = value.drop_nulls()
                merged = pl.col(name).explode(keep_nulls=False, empty_as_null=False)
                if each.kind == "distinct":
                    values, merged = values.unique(), merged.unique()
                self._columns[name] = _Column(values, merged)
                self._sketched[name] = (_SKETCHES[each.kind], each.exact)

    def _add(self, name: str, of_rows: pl.Expr, merged_by: str) -> None:
        self._columns[name] = _Column(of_rows, getattr(pl.col(name), merged_by)())

    def restored(self, partials: pl.DataFrame | None) -> pl.DataFrame | None:
        """Return partials from Arrow with their 128-bit integers, which it has as decimals."""
        if partials is None:
            return None
        return partials.with_columns(
            pl.col(name).cast(_WIDE) for name in self._wide if name in partials.columns
        )

    def reduce(self, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Return the partials of records, a row per value of `keys`."""
        made = rows.group_by(keys).agg(**{n: c.of_rows for n, c in self._columns.items()})
        empty = [pl.lit(None, pl.Binary).alias(_sketch_of(name)) for name in self._sketched]
        return self._bounded(made.with_columns(empty) if empty else made)

    def merge(self, partials: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Return partials merged, a row per value of `keys`."""
        merged = partials.group_by(keys).agg(
            **{name: column.of_partials for name, column in self._columns.items()},
            **{
                _sketch_of(name): pl.col(_sketch_of(name)).drop_nulls()
                for name in self._sketched
            },
        )
        return self._bounded(merged)

    def _bounded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Turn values beyond their bound into sketches, row by row: such rows are few."""
        for name, (sketch, bound) in self._sketched.items():
            kept = _sketch_of(name)
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
            self._finished(partials, each).alias(name)
            for name, each in self._aggregates.items()
        ]

    def _finished(self, partials: pl.DataFrame, each: Aggregate) -> pl.Series:
        column = each.column
        match each.kind:
            case "count":
                return partials["count"]
            case "sum":
                total = pl.col(f"sum {column}")
                if column not in self._decimal:
                    total = total.cast(pl.Int64, strict=False)
                some = pl.when(pl.col(f"values {column}") > 0).then(total)
                return partials.select(some).to_series()
            case "mean":
                total, number = pl.col(f"sum {column}"), pl.col(f"values {column}")
                mean = total.cast(pl.Float64) / number.cast(pl.Float64)
                return partials.select(pl.when(number > 0).then(mean)).to_series()
            case "stddev":
                total, squares = pl.col(f"sum {column}"), pl.col(f"squares {column}")
                n = pl.col(f"values {column}").cast(_WIDE)
                above = (n * squares - total * total).cast(pl.Float64)
                deviation = (above / (n * (n - 1)).cast(pl.Float64)).sqrt()
                return partials.select(pl.when(n > 1).then(deviation)).to_series()
            case "min" | "max":
                return partials[f"{each.kind} {column}"]
            case "first" | "last":
                return partials[f"{each.kind} {column}"].struct.field("value")
            case "distinct" | "quantile":
                return self._estimated(partials, each)

    def _estimated(self, partials: pl.DataFrame, each: Aggregate) -> pl.Series:
        name = _sketch_name(each)
        sketch, _ = self._sketched[name]
        values = pl.col(name)
        if each.kind == "distinct":
            exact = partials.select(values.list.len().cast(pl.Float64)).to_series()
        else:
            rank = (values.list.len() * each.q).ceil().cast(pl.Int64).clip(1) - 1
            of_rank = values.list.sort().list.get(rank, null_on_oob=True)
            exact = partials.select(of_rank.cast(pl.Float64)).to_series()
        sketches = partials[_sketch_of(name)]
        heavy = sketches.is_not_null().arg_true()
        if len(heavy):
            exact = exact.scatter(heavy, [sketch.estimate(s, each.q) for s in sketches[heavy]])
        return exact.cast(pl.Int64) if each.kind == "distinct" else exact


def _sketch_name(each: Aggregate) -> str:
    return f"{each.kind} {each.exact} {each.column}"


def _sketch_of(name: str) -> str:
    return f"sketch of {name}"

"""Tables under two roots, row by row: those of a flow, and those that were made anew.

Compared is what both roots account for: rows up to the offsets, and windows up to the watermark,
that the tables of each flow have come to together. When rows were written, and by which release,
is no difference.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Final

import polars as pl

from flows.streams import writers
from operators.connectors.delta.look import Look, look
from operators.connectors.delta.parts import accounted_for, as_kept, parts_of
from operators.connectors.delta.reading import read
from operators.errors import KnownError
from operators.event_time.frontier import Frontier
from operators.records.tables import COORDINATES, STAMPS, Table
from ops.verify.report import Check, Report

_SIDE: Final = "only_under"
_DIFFERS: Final = "differs_in"


class AgainstError(KnownError):
    """There is nothing to compare; the message says what to do."""


def against(root: str, other: str, doing: Callable[[str], None] = lambda _: None) -> Report:
    """Compare each table that is under both roots; `doing` is told which one is read.

    Raises AgainstError if there is none, and StorageUnavailableError.
    """
    found: dict[str, list[tuple[Table, Look, Look]]] = {}
    for table, flow in writers().values():
        both = look(root, table, flow, []), look(other, table, flow, [])
        if both[0] is not None and both[1] is not None:
            found.setdefault(flow, []).append((table, both[0], both[1]))
    if not found:
        raise AgainstError(f"no table is both under {root} and under {other}")
    checks: list[Check] = []
    counts: dict[str, int] = {}
    for tables in found.values():
        # A table is committed where it has new rows: how far a flow is they tell together.
        ends = _joined(each[1] for each in tables), _joined(each[2] for each in tables)
        for table, mine, its in tables:
            doing(f"comparing {table.name}")
            kept = as_kept(table, mine.handle)
            odd, compared = _compare(kept, (mine, its), ends, (root, other))
            checks.append(Check.of(f"{table.name}: the same under both roots", compared, odd))
            counts |= {f"{table.name}: {name}": n for name, n in _by_column(odd)}
    return Report(checks, counts, {})


def _joined(looks: Iterable[Look]) -> Frontier:
    return reduce(Frontier.joined, (each.frontier for each in looks), Frontier())


def _compare(
    table: Table,
    looks: tuple[Look, Look],
    ends: tuple[Frontier, Frontier],
    roots: tuple[str, str],
) -> tuple[pl.DataFrame, int]:
    """Return the rows that are not the same, by their key, and how many were compared."""
    columns = [name for name in table.columns if name not in STAMPS]
    odd, compared = [], 0
    for where in parts_of(table, ends[0].joined(ends[1])):
        left, right = (
            accounted_for(table, read(each.handle, columns, where), other)
            for each, other in zip(looks, reversed(ends), strict=True)
        )
        compared += left.height
        odd.append(_odd(table, left, right, roots))
    return pl.concat(odd, how="vertical_relaxed"), compared


def key_of(table: Table) -> list[str]:
    """Return the columns that tell a table's rows apart, or nearly so."""
    columns = list(table.columns)
    if table.fenced == "by window" and "revision" in columns:
        # Keys and times of the window come first.
        return [
            name for name in columns[: columns.index("revision") + 1] if name != "window_end"
        ]
    also = (*table.compared, "rule_id", "chargeback_id")
    key = dict.fromkeys([*COORDINATES, *(name for name in also if name in columns)])
    return [name for name in key if name in columns]


def _odd(
    table: Table, left: pl.DataFrame, right: pl.DataFrame, roots: tuple[str, str]
) -> pl.DataFrame:
    """Return a row for each that only one side has, and one for each pair that differs."""
    left, right = _plain(left), _plain(right)
    mine, its = _lacking(left, right), _lacking(right, left)
    key = key_of(table)
    pairs = mine.join(its, on=key, how="inner", suffix="_other", nulls_equal=True)
    differing = [
        pl.when(pl.col(name).ne_missing(pl.col(f"{name}_other"))).then(pl.lit(name))
        for name in left.columns
        if name not in key
    ]
    changed = pairs.select(
        *key,
        pl.lit(None, pl.String()).alias(_SIDE),
        pl.concat_str(differing, separator=", ", ignore_nulls=True).alias(_DIFFERS)
        if differing
        else pl.lit("").alias(_DIFFERS),
    )
    alone = [
        rows.join(pairs, on=key, how="anti", nulls_equal=True).select(
            *key, pl.lit(root).alias(_SIDE), pl.lit(None, pl.String()).alias(_DIFFERS)
        )
        for rows, root in ((mine, roots[0]), (its, roots[1]))
    ]
    return pl.concat([changed, *alone])


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with nested columns as text, which can be compared."""
    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    texts = [
        pl.Series(
            name, [None if v is None else repr(v) for v in rows[name].to_list()], pl.String()
        )
        for name in nested
    ]
    return rows.with_columns(texts)


def _lacking(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a bag that another has not as often."""
    hashes = pl.concat(
        [
            pl.DataFrame({"hash": each.hash_rows(seed=1), "_n": pl.Series([sign]).new_from_index(
                0, each.height)}) for each, sign in ((rows, 1), (others, -1))
        ]
    )  # fmt: skip
    more = hashes.group_by("hash").agg(pl.col("_n").sum()).filter(pl.col("_n") > 0)
    if not more.height:
        return rows.clear()
    numbered = rows.with_columns(rows.hash_rows(seed=1).alias("_hash"))
    nth = numbered.with_columns(pl.int_range(pl.len()).over("_hash").alias("_nth"))
    most = nth.join(more, left_on="_hash", right_on="hash", how="inner")
    return most.filter(pl.col("_nth") < pl.col("_n")).drop("_hash", "_nth", "_n")


def _by_column(odd: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """Yield how often each column differs, and how many rows each root has alone."""
    names = odd[_DIFFERS].drop_nulls().str.split(", ").explode().value_counts().sort(_DIFFERS)
    yield from names.iter_rows()
    for side, count in odd[_SIDE].drop_nulls().value_counts().sort(_SIDE).iter_rows():
        yield f"only under {side}", count

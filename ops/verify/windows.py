"""The windows and the late records, worked out anew from silver by another engine.

DataFusion, which the deltalake package carries, reads the files and runs the `statements`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from flows.streams import Stream
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.retention import cut_of
from operators.event_time.watermarks import Bounds
from operators.windows import Session, Windows
from ops.newest import newest_rows
from ops.verify import statements
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once


def frame_of(query: Any) -> pl.DataFrame:
    """Return what a query has found, its times as tables have them."""
    frame = pl.DataFrame(pl.from_arrow(pa.table(query.read_all())))
    times = pl.selectors.datetime().cast(pl.Datetime("us"))
    return frame.with_columns(times.dt.replace_time_zone("UTC"))


def check_windows(
    stream: Stream,
    handle: Callable[[str], DeltaTable],
    windows: Mapping[str, Windows],
    *,
    bounds: Bounds,
    watermarks: Mapping[str, int],
    since: Mapping[str, Mapping[str, int]],
    gone: Forgotten,
) -> list[Check]:
    """Compare the windowed tables and the late records, row for row, with what silver makes them.

    `handle` opens a table by its name. `windows` are by the name of their step. `watermarks`,
    those up to which each table has its panes, are in µs, and so is `since`: by step, those
    at which aggregates came that windows which had ended before are without. Windows that have
    counted what is `gone` may differ; those that retention has cut are left out.
    """
    engine = gone.register(QueryBuilder(), "silver", handle(stream.silver.name))
    engine = engine.register("late", handle(stream.late.name))
    read = {name for each in windows.values() for name in each.reads}
    seen = statements.seen(sorted(read), bounds, some_forgotten=bool(gone))
    rows = frame_of(
        engine.execute(
            f"WITH {seen} SELECT source_partition, source_offset, watermark, derived FROM seen"  # noqa: S608 # our own words
        )
    )
    wrong = rows.filter(~pl.col("watermark").eq_missing(pl.col("derived")))
    checks = [
        Check.of(
            "silver's watermark is what its partition's records make it", rows.height, wrong
        )
    ]
    for name, each in windows.items():
        table = stream.window_table(name).name
        engine = engine.register(name, handle(table))
        judged = f"{seen}, {statements.judged(each)}"
        told = f"{stream.late.name} holds every record that was late for its {name}, once"
        checks.append(_check_late(engine, name, told, judged, each))
        told = f"{table} equals silver's windows, row for row"
        there = set(columns_of(handle(table)))
        known = {n: a for n, a in each.aggregates.items() if n in there}
        of = _Panes(
            name,
            replace(each, aggregates=known),
            watermarks[name],
            since[name],
            cut_of(handle(table)).until,
            gone,
        )
        checks.append(_check_panes(engine, of, told, judged, set(each.aggregates) - there))
    return checks


def _check_late(
    engine: QueryBuilder, name: str, told: str, judged: str, windows: Windows
) -> Check:
    place = [*statements.PLACE, "window_start", "window_end"]
    expected = frame_of(engine.execute(f"WITH {judged} {statements.late_records()}"))
    recorded = frame_of(
        engine.execute(
            f"SELECT {', '.join(place)}, event_time, watermark FROM late WHERE step = '{name}'"  # noqa: S608 # our own words
        )
    )
    # A partition that was idle while the others went on is judged by the flow's watermark,
    # which the late records have: such a row must be late by that.
    session = isinstance(windows.window, Session)
    end = pl.col("event_time") if session else pl.col("window_end")
    missed = pl.col("watermark") >= end + pl.duration(microseconds=windows.lateness)
    woken = recorded.join(expected, on=place, how="anti").filter(missed)
    return only_once(told, pl.concat([expected, woken.select(place)]), recorded)


@dataclass(frozen=True)
class _Panes:
    """The windows of a step, up to which watermark they are there, and since which aggregates.

    Those that end at `cut`, in µs, or before were cut by retention.
    """

    name: str
    windows: Windows
    watermark: int
    since: Mapping[str, int]
    cut: int
    gone: Forgotten


def _check_panes(
    engine: QueryBuilder, of: _Panes, told: str, judged: str, lacking: set[str]
) -> Check:
    name, windows, watermark = of.name, of.windows, of.watermark
    counted = statements.counted(name)
    keys = [*windows.by, "window_start", "window_end"]
    made, *more = [
        frame_of(engine.execute(f"WITH {judged}, {counted} {query}"))
        for query in statements.panes(windows)
    ]
    for each in more:
        made = made.join(each, on=keys, how="left", nulls_equal=True)
    left_out = statements.unchecked(windows)
    made = made.select(*keys, *(n for n in windows.aggregates if n not in left_out))
    columns = [*keys, "revision", *made.columns[len(keys) :]]
    # A session is written at the first multiple of its step at or after its end.
    session = isinstance(windows.window, Session)
    grain = f"{windows.session.step}us" if session else "1us"
    ends = pl.col("window_end").dt.offset_by("-1us").dt.truncate(grain).dt.offset_by(grain)
    due = ends.dt.epoch("us") + windows.lateness <= watermark
    actual = frame_of(engine.execute(newest_rows(name, columns, sessions=session)))
    # What waits for its last revision is not what it will be yet.
    due = due & (pl.col("window_end").dt.epoch("us") > of.cut)
    actual = actual.drop("revision").filter(due)
    if session and windows.lateness:
        actual = _without_waiting(actual, made.filter(~due), windows.by)
    expected = made.filter(due)
    for column, aggregate in windows.aggregates.items():
        if aggregate.kind == "distinct":
            expected = _with_estimates(expected, actual, keys, column, aggregate.exact)
    older = 0
    for column, began in of.since.items():
        if column not in expected.columns:
            continue
        before = ends.dt.epoch("us") <= began
        expected, without_it = _without_older(expected, actual, keys, column, before)
        older += without_it
    left_out += sorted(lacking)
    without = f" (but for {', '.join(left_out)})" if left_out else ""
    expected, actual, excused = of.gone.excused(expected, actual)
    found = only_once(f"{told}{without}", expected, actual)
    if excused:
        return replace(found, deleted=older + excused, because="had counted somebody forgotten")
    return replace(found, deleted=older, because="of windows older than the aggregate")


def _without_waiting(
    actual: pl.DataFrame, waiting: pl.DataFrame, by: tuple[str, ...]
) -> pl.DataFrame:
    """Return sessions without those that others go on, which wait for their end."""
    both = actual.sort("window_start").join_asof(
        waiting.select(*by, "window_start", until="window_end").sort("window_start"),
        on="window_start",
        by=list(by),
        check_sortedness=False,
    )
    ended = pl.col("until").is_null() | (pl.col("until") <= pl.col("window_start"))
    return both.filter(ended).drop("until")


def _without_older(
    expected: pl.DataFrame, actual: pl.DataFrame, keys: list[str], column: str, before: pl.Expr
) -> tuple[pl.DataFrame, int]:
    """Take values out of what is expected that windows `before` an aggregate have not.

    Return how many as well. What they do have of it is compared.
    """
    there = actual.filter(pl.col(column).is_not_null()).select(*keys, has=pl.lit(value=True))
    both = expected.join(there, on=keys, how="left", nulls_equal=True)
    older = before & pl.col("has").is_null() & pl.col(column).is_not_null()
    count = both.select(older.sum()).item()
    made = pl.when(older).then(None).otherwise(pl.col(column)).alias(column)
    return both.with_columns(made).drop("has"), int(count or 0)


def _with_estimates(
    expected: pl.DataFrame, actual: pl.DataFrame, keys: list[str], column: str, exact: int
) -> pl.DataFrame:
    """Put the estimates that are near enough in the place of distinct counts above `exact`.

    An estimate is good to 1.6 %: 10 % is six times that.
    """
    if not (expected[column] > exact).any():
        return expected
    both = expected.join(
        actual.select(*keys, told=column), on=keys, how="left", nulls_equal=True
    )
    near = (pl.col("told") - pl.col(column)).abs() <= 0.1 * pl.col(column)
    estimate = pl.when((pl.col(column) > exact) & near).then("told").otherwise(column)
    return both.with_columns(estimate.alias(column)).drop("told")

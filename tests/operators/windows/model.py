"""Windows by brute force, in plain Python: what the operator is compared with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from operators.records.batches import NO_WATERMARK
from operators.records.tables import TIME
from operators.windows import Aggregate, Session, Windows
from operators.windows.sketches import HyperLogLog, LogHistogram


@dataclass(frozen=True)
class Record:
    partition: int
    offset: int
    key: str
    time: int
    amount: int | None = 1
    card: str | None = "x"
    mark: int = NO_WATERMARK  # its partition's watermark before it


def frame(records: list[Record]) -> pl.DataFrame:
    rows = pl.DataFrame(
        [(r.partition, r.offset, r.key, r.time, r.amount, r.card, r.mark) for r in records],
        schema={
            "source_partition": pl.Int32,
            "source_offset": pl.Int64,
            "key": pl.String,
            "event_time": pl.Int64,
            "amount": pl.Int64,
            "card": pl.String,
            "watermark": pl.Int64,
        },
        orient="row",
    )
    return rows.with_columns(pl.col("event_time", "watermark").cast(TIME))


PICKED: dict[str, Callable[[Record], bool]] = {
    "amount > 0": lambda r: r.amount is not None and r.amount > 0,
    "card = 'u' OR card IS NULL": lambda r: r.card in ("u", None),
}
"""What the SQL of an aggregate's `where` picks."""


def value(each: Aggregate, rows: list[Record]) -> Any:
    if each.where:
        rows = [r for r in rows if PICKED[each.where](r)]
    if each.kind == "count":
        return len(rows)
    rows = sorted(rows, key=lambda r: (r.time, r.partition, r.offset))
    values = [v for r in rows if (v := getattr(r, each.column)) is not None]
    n = len(values)
    if each.kind == "distinct":
        found = set(values)
        if len(found) <= each.exact:
            return len(found)
        hll = HyperLogLog()
        return int(hll.estimate(hll.of(pl.Series(sorted(found)), []), 0))
    if n == 0:
        return None
    match each.kind:
        case "sum":
            return sum(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "mean":
            return float(sum(values)) / float(n)
        case "stddev":
            above = n * sum(v * v for v in values) - sum(values) ** 2
            return math.sqrt(float(above) / float(n * (n - 1))) if n > 1 else None
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "quantile":
            if n > each.exact:
                histogram = LogHistogram()
                return histogram.estimate(histogram.of(pl.Series(values), []), each.q)
            return float(sorted(values)[math.ceil(each.q * n) - 1])
    raise AssertionError(each.kind)


Panes = dict[tuple[str, int, int, int], tuple[int, tuple[Any, ...]]]
Late = list[tuple[int, int, int]]


def expected(windows: Windows, records: list[Record]) -> tuple[Panes, Late]:
    """Return {(key, start, end, revision): (closes, aggregates)} and what is late."""
    if isinstance(windows.window, Session):
        return _sessions(windows, records)
    window, late = windows.window, []
    members: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for r in records:
        start = r.time - (r.time - window.offset) % window.every
        while start + window.size > r.time:
            if start + window.size + windows.lateness <= r.mark:
                late.append((r.partition, r.offset, start))
            else:
                members[r.key, start].append(r)
            start -= window.every
    early = list(range(windows.early, window.size, windows.early)) if windows.early else []
    schedule = [(place - len(early), due) for place, due in enumerate(early)]
    schedule.append((0, window.size))
    if windows.lateness:
        for step in range(1, windows.revisions + 1):
            schedule.append((step, window.size + windows.lateness * step // windows.revisions))
    panes: Panes = {}
    for (key, start), rows in members.items():
        before = NO_WATERMARK - 1
        for revision, due in schedule:
            inside = [r for r in rows if r.mark < start + due]
            news = [r for r in inside if r.mark >= before]
            before = start + due
            if inside and (revision == 0 or news):
                panes[key, start, start + window.size, revision] = (
                    start + due,
                    tuple(value(each, inside) for each in windows.aggregates.values()),
                )
    return panes, sorted(late)


def _sessions(windows: Windows, records: list[Record]) -> tuple[Panes, Late]:
    gap, step = windows.window.gap, windows.window.step
    late = [
        (r.partition, r.offset, r.time) for r in records if r.time + windows.lateness <= r.mark
    ]
    by_key: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        if r.time + windows.lateness > r.mark:
            by_key[r.key].append(r)
    panes: Panes = {}
    for key, rows in by_key.items():
        # What was emitted of the key's ended sessions, with its revision, and early.
        ended: list[tuple[set[Record], int]] = []
        early: list[set[Record]] = []
        first, last = (pick(r.time for r in rows) // step * step for pick in (min, max))
        for due in range(first, last + gap + windows.lateness + 2 * step, step):
            for each in chains([r for r in rows if r.mark < due], gap):
                start, end = each[0].time, each[-1].time + gap
                values = tuple(value(a, each) for a in windows.aggregates.values())
                held = set(each)
                if end <= due and all(held != other for other, _ in ended):
                    revision = 1 + max((n for other, n in ended if other & held), default=-1)
                    ended.append((held, revision))
                    panes[key, start, end, revision] = due, values
                tick = windows.early and due % windows.early == 0
                if tick and start < due < end and held not in early:
                    early.append(held)
                    panes[key, start, end, (due - -(-end // step) * step) // step] = due, values
    return panes, sorted(late)


def open_now(windows: Windows, records: list[Record], watermark: int) -> int:
    """Return how many windows have records that count and are not over at a watermark."""
    window, lateness = windows.window, windows.lateness
    if not isinstance(window, Session):
        found = set()
        for r in records:
            start = r.time - (r.time - window.offset) % window.every
            while start + window.size > r.time:
                over = start + window.size + lateness
                if over > r.mark and over > watermark:
                    found.add((r.key, start))
                start -= window.every
        return len(found)
    now = watermark // window.step * window.step
    by_key: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        if r.time + lateness > r.mark:
            by_key[r.key].append(r)
    sessions = [each for rows in by_key.values() for each in chains(rows, window.gap)]
    return sum(each[-1].time + window.gap + lateness > now for each in sessions)


def chains(rows: list[Record], gap: int) -> list[list[Record]]:
    found: list[list[Record]] = []
    for r in sorted(rows, key=lambda r: r.time):
        if found and r.time - found[-1][-1].time < gap:
            found[-1].append(r)
        else:
            found.append([r])
    return found


def shown(windows: Windows, frames: list[pl.DataFrame]) -> Panes:
    """Return panes as `expected` has them; refuses any that comes twice."""
    panes: Panes = {}
    for each in frames:
        physical = each.with_columns(pl.col("window_start", "window_end").to_physical())
        for row in physical.iter_rows():
            key, start, end, revision, *values, closes = row
            assert (key, start, end, revision) not in panes, "a pane comes once"
            panes[key, start, end, revision] = (closes, tuple(values))
    return panes

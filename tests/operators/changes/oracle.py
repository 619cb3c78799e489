"""What a table of changes must come to, key by key and row by row."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from operators.changes import DELETED, SEQUENCE

_PLACE = ("source_topic", "source_partition", "source_offset")


def _place(change: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(change[name] for name in _PLACE)


def _bare(row: dict[str, Any], by: tuple[str, ...]) -> dict[str, Any]:
    kept = {*by, *_PLACE, SEQUENCE, DELETED, "changed_at"}
    return {n: v if not row[DELETED] or n in kept else None for n, v in row.items()}


def _by_key(
    changes: Iterable[dict[str, Any]], by: tuple[str, ...]
) -> list[list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in changes:
        one = dict(each)
        one["changed_at"] = one.pop("event_time")
        found.setdefault(tuple(each[name] for name in by), []).append(one)
    return list(found.values())


def _states(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last: dict[int, dict[str, Any]] = {}
    for each in sorted(changes, key=_place):
        if each[SEQUENCE] is not None:
            last[each[SEQUENCE]] = each
    return [last[sequence] for sequence in sorted(last)]


def current(changes: Iterable[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table of what is current."""
    rows = []
    for mine in _by_key(changes, by):
        states = _states(mine)
        stones = [each for each in mine if each[SEQUENCE] is None]
        stone = max(stones, key=lambda s: (s["changed_at"], _place(s)), default=None)
        row = dict(states[-1] if states else stone or {})
        at = None if stone is None else stone["changed_at"]
        if at is not None and at >= row["changed_at"]:
            row[DELETED] = True
        rows.append(_bare(row, by) | {"tombstone_at": at})
    return rows


def history(changes: Iterable[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table of all that was."""
    rows = []
    for mine in _by_key(changes, by):
        line = _states(mine)
        stones: dict[Any, dict[str, Any]] = {}
        for each in sorted(mine, key=_place):
            if each[SEQUENCE] is None:
                stones[each["changed_at"]] = each
        states = list(line)
        for at in sorted(stones):
            behind = [n for n, s in enumerate(states) if s["changed_at"] <= at]
            # Behind the state, and behind the tombstones that are there already.
            place = line.index(states[behind[-1]]) + 1 if behind else 0
            while place < len(line) and line[place][SEQUENCE] is None:
                place += 1
            line.insert(place, stones[at])
        since = None
        for number, each in enumerate(line):
            since = each["changed_at"] if since is None else max(since, each["changed_at"])
            row = _bare(each, by) | {"effective_from": since, "effective_to": None}
            if number:
                rows[-1]["effective_to"] = since
                rows[-1]["is_current"] = False
            rows.append(row | {"is_current": not each[DELETED]})
    return rows


def sorted_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a table's rows in an order of their own."""
    return rows.sort(sorted(rows.columns), nulls_last=True)

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


def _deletes(stone: dict[str, Any], state: dict[str, Any]) -> bool:
    return _place(stone)[:2] == _place(state)[:2] and _place(state) < _place(stone)


def current(changes: Iterable[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table of what is current."""
    rows = []
    for mine in _by_key(changes, by):
        if not (states := _states(mine)):
            continue
        row = dict(states[-1])
        times = [
            each["changed_at"]
            for each in mine
            if each[SEQUENCE] is None and _deletes(each, row)
        ]
        row[DELETED] |= bool(times)
        rows.append(_bare(row, by) | {"tombstone_at": max(times, default=None)})
    return rows


def history(changes: Iterable[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table of all that was."""
    rows = []
    for mine in _by_key(changes, by):
        states = _states(mine)
        stones = {_place(each): each for each in mine if each[SEQUENCE] is None}
        behind: list[list[dict[str, Any]]] = [[] for _ in range(len(states) + 1)]
        for place in sorted(stones):
            deleted = [n for n, each in enumerate(states) if _deletes(stones[place], each)]
            behind[max(deleted) + 1 if deleted else 0].append(stones[place])
        line = list(behind[0])
        for state, after in zip(states, behind[1:], strict=True):
            line += [state, *after]
        since = None
        for number, each in enumerate(line):
            at = each["changed_at"]
            if each[SEQUENCE] is None:
                later = [
                    one["changed_at"] for one in line[number:] if one[SEQUENCE] is not None
                ]
                at = min([at, *later[:1]])
            since = at if since is None else max(since, at)
            row = _bare(each, by) | {"effective_from": since, "effective_to": None}
            if number:
                rows[-1]["effective_to"] = since
                rows[-1]["is_current"] = False
            rows.append(row | {"is_current": not each[DELETED]})
    return rows


def sorted_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a table's rows in an order of their own."""
    return rows.sort(sorted(rows.columns), nulls_last=True)

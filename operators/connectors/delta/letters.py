"""Letters: the rows of a quarantine with what became of each, as SQL."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from operators.connectors.delta.acts import DISCARDS, EDITS, REPLAYS
from operators.records.columns import KEY_ID, QUARANTINE_COLUMNS
from operators.records.tables import STAMPS

PLACE: Final = ("source_topic", "source_partition", "source_offset")

# The newest of each record by a maximum, which costs a fifth of what a window does.
_LAST: Final = """SELECT newest.*, names.{name} FROM (
    SELECT {by}, max(number * 2 + CASE WHEN {stands} THEN 1 ELSE 0 END) AS last
    FROM {table} WHERE {mine} GROUP BY {by}
) AS newest JOIN (SELECT DISTINCT number, {name} FROM {table}) AS names
ON newest.last = names.number * 2 + 1"""


@dataclass(frozen=True)
class Act:
    """What was done with rejects, as a column of theirs that names it: how SQL finds what counts.

    `by` are the columns that a reject is known by there, `also` what else must hold of it.
    """

    table: str
    sql: str
    by: tuple[str, ...] = PLACE
    also: str = "w.stage <> 'rule'"


# In this order, as most rejects are not edited: what is joined first leaves few to the others.
ACTS: Final[Mapping[str, Act]] = {
    "edit": Act(EDITS.name, _LAST.replace("{stands}", "value IS NOT NULL")),
    "replay": Act(REPLAYS.name, "SELECT {by}, {name} FROM {table} WHERE {mine}"),
    "discard": Act(
        DISCARDS.name, _LAST.replace("{stands}", "discarded"), (*PLACE, "code"), "true"
    ),
}

STATE: Final = "state"
STATES: Final = """CASE WHEN discard IS NOT NULL THEN 'discarded'
    WHEN replay IS NOT NULL THEN 'replayed' WHEN edit IS NOT NULL THEN 'edited'
    ELSE 'open' END"""

_SQL_TYPES: Final[Mapping[Any, str]] = {pl.String: "VARCHAR", pl.Int32: "INT"}


def quoted(value: Any) -> str:
    """Return a value as a text of SQL, or NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def that_count(name: str, stream: str, table: str, mine: str = "true") -> str:
    """Return SQL of the rows of a table of acts that count of a stream, one of each reject."""
    act = ACTS[name]
    mine = f"stream = {quoted(stream)} AND {mine}"
    return act.sql.format(name=name, table=table, mine=mine, by=", ".join(act.by))


def told_rows(stream: str, there: Collection[str], asked: Collection[str]) -> str:
    """Return SQL of a quarantine's rows, `written`, with what was done with each.

    They have all of the table's columns, those that are not `there` as null; `stream`; `time`,
    Kafka's or when it was written; and a column of each act, null but for those that are `asked`
    for, whose tables are `acts_edit` and so on; and `state`.
    """
    added = ("stream", "time", STATE, *ACTS)
    found = [f'w."{name}"' for name in there if name not in added]
    for name, kind in (QUARANTINE_COLUMNS | {KEY_ID: pl.String()} | STAMPS).items():
        if name not in there:
            found.append(f"CAST(NULL AS {_SQL_TYPES[type(kind)]}) AS {name}")
    found += [
        f"{quoted(stream)} AS stream",
        "coalesce(w.kafka_timestamp, w.written_at) AS time",
    ]
    joins = ""
    for name, act in ACTS.items():
        if name not in asked:
            found.append(f"CAST(NULL AS VARCHAR) AS {name}")
            continue
        found.append(f"{name}s.{name}")
        counts = that_count(name, stream, f"acts_{name}")
        same = " AND ".join(_same(each, f"{name}s") for each in act.by)
        joins += f" LEFT JOIN ({counts}) AS {name}s ON {same} AND {act.also}"
    rows = f"SELECT {', '.join(found)} FROM written AS w{joins}"  # noqa: S608 # our own
    return f"SELECT *, {STATES} AS {STATE} FROM ({rows})"  # noqa: S608 # our own


def _same(column: str, other: str) -> str:
    """Return that a row and one of what was done with it have the same value, as SQL."""
    if column in ("source_partition", "source_offset"):
        return f"w.{column} = {other}.{column}"
    # No key of the join: texts are compared where the numbers are equal, and not hashed in all.
    return f"NOT (w.{column} <> {other}.{column})"

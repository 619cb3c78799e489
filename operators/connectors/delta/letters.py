"""Letters: the rows of a quarantine with what became of each, as SQL, and how many are open."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from deltalake import QueryBuilder

from operators.connectors.delta.acts import DISCARDS, EDITS, REPLAYS
from operators.connectors.delta.followed import Followed
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.reading import collected
from operators.connectors.delta.table import reaching
from operators.records.tables import Table

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

_OPEN: Final = """SELECT code, count(*) AS open FROM ({rows})
WHERE replay IS NULL AND discard IS NULL GROUP BY code"""
_SQL_TYPES: Final[Mapping[Any, str]] = {pl.String: "VARCHAR", pl.Int32: "INT"}


def quoted(value: Any) -> str:
    """Return a value as a text of SQL, or NULL."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def that_count(name: str, stream: str, table: str, mine: str = "true") -> str:
    """Return SQL of the rows of a table of acts that count of a stream, one of each reject."""
    act = ACTS[name]
    mine = f"stream = {quoted(stream)} AND {mine}"
    return act.sql.format(name=name, table=table, mine=mine, by=", ".join(act.by))


def told_rows(
    stream: str, quarantine: Table, there: Collection[str], asked: Collection[str]
) -> str:
    """Return SQL of a quarantine's rows, `written`, with what was done with each.

    They have all of the table's columns, those that are not `there` as null; `stream`; `time`,
    Kafka's or when it was written; and a column of each act, null but for those that are `asked`
    for, whose tables are `acts_edit` and so on; and `state`.
    """
    added = ("stream", "time", STATE, *ACTS)
    found = [f'w."{name}"' for name in there if name not in added]
    for name, kind in quarantine.schema.items():
        if name not in there:
            found.append(f"CAST(NULL AS {_SQL_TYPES[type(kind)]}) AS {name}")
    found += [f"'{stream}' AS stream", "coalesce(w.kafka_timestamp, w.written_at) AS time"]
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


class OpenLetters:
    """Counts the rejects of a stream that were neither sent again nor put aside.

    As the tables have them: whoever changes what became of one, and whatever retention deletes,
    the next count has it.
    """

    def __init__(self, root: str, stream: str, quarantine: Table) -> None:
        self.stream = stream
        self._quarantine = quarantine
        self._tables = {
            name: Followed(root, table)
            for name, table in (
                ("", quarantine.name), ("replay", REPLAYS.name), ("discard", DISCARDS.name)
            )
        }  # fmt: skip
        self._seen: dict[str, int | None] | None = None

    def changed(self) -> bool:
        """Bring the tables up to date; tell whether there is anything new in them.

        Raises StorageUnavailableError.
        """
        return {name: table.look() for name, table in self._tables.items()} != self._seen

    def count(self) -> dict[str, int]:
        """Return how many are open, by code; none is 0 of a code that no row has.

        Raises StorageUnavailableError.
        """
        handles = {name: table.handle for name, table in self._tables.items()}
        seen = {name: table.version for name, table in self._tables.items()}
        written = handles.pop("")
        found: dict[str, int] = {}
        if written is not None:
            there = {name: each for name, each in handles.items() if each is not None}
            engine = QueryBuilder().register("written", written)
            for name, each in there.items():
                engine = engine.register(f"acts_{name}", each)
            rows = told_rows(self.stream, self._quarantine, columns_of(written), there)
            with reaching(written.table_uri):
                counts = collected(engine, _OPEN.format(rows=rows))
            found = {str(code): int(count) for code, count in counts.iter_rows()}
        self._seen = seen
        return found

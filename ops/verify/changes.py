"""Tables of changes, worked out anew from silver by another engine."""

from collections.abc import Callable

from deltalake import DeltaTable, QueryBuilder

from flows.streams import Stream
from operators.changes import DELETED, SEQUENCE, Changes
from operators.records.tables import BUCKET, COORDINATES
from ops.verify.report import Check, only_once
from ops.verify.windows import frame_of

_TIME = "event_time"
_PLACE = ", ".join(COORDINATES)


def check_changes(stream: Stream, handle: Callable[[str], DeltaTable]) -> Check:
    """Compare the table of a stream's changes, row for row, with what silver's come to.

    `handle` opens a table by its name.
    """
    changes, table = stream.changes, stream.merged
    assert changes is not None  # noqa: S101 # a stream of changes
    engine = QueryBuilder().register("silver", handle(stream.silver.name))
    engine = engine.register("merged", handle(table.name))
    fields = [name for name in stream.fields if name not in (*changes.by, _TIME)]
    sql = _current if changes.keeps == "current" else _history
    columns = [name for name in table.columns if name != BUCKET]
    expected = frame_of(engine.execute(sql(changes, fields, columns)))
    there = ", ".join(_quoted(columns))
    actual = frame_of(engine.execute(f"SELECT {there} FROM merged"))  # noqa: S608 # our own words
    return only_once(
        f"{table.name} equals what silver's changes come to, row for row",
        expected.cast({name: table.columns[name] for name in columns}),
        actual.cast({name: table.columns[name] for name in columns}),
    )


def _quoted(names: list[str] | tuple[str, ...]) -> list[str]:
    return [f'"{name}"' for name in names]


def _states(changes: Changes, fields: list[str]) -> str:
    """Return the states of rows, each sequence once, and the tombstones, each time once."""
    by = ", ".join(_quoted(changes.by))
    of = ", ".join(_quoted((*changes.by, *fields)))
    last = f"ORDER BY {', '.join(f'{name} DESC' for name in COORDINATES)}"
    kept = f"{of}, {_TIME} AS changed_at, {SEQUENCE}, {DELETED}, {_PLACE}"

    def newest(of: str, where: str) -> str:
        return (
            f"SELECT {kept} FROM (SELECT *, row_number() OVER (PARTITION BY {by}, {of} {last}) "  # noqa: S608 # our own words
            f"AS number FROM silver WHERE {SEQUENCE} {where}) WHERE number = 1"
        )

    return (
        f"states AS ({newest(SEQUENCE, 'IS NOT NULL')}), stones AS ({newest(_TIME, 'IS NULL')})"
    )


def _bare(fields: list[str], gone: str) -> list[str]:
    return [f"CASE WHEN {gone} THEN NULL ELSE {name} END AS {name}" for name in _quoted(fields)]


def _current(changes: Changes, fields: list[str], columns: list[str]) -> str:
    by, every = _quoted(changes.by), _quoted((*changes.by, *fields))
    same = " AND ".join(f"s.{name} = t.{name}" for name in by)
    keys = ", ".join(by)
    rest = f"changed_at, {SEQUENCE}, {DELETED}, {_PLACE}"

    def one(of: str, order: str) -> str:
        return (
            f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY {order}) "  # noqa: S608 # our own words
            f"AS number FROM {of}) WHERE number = 1"
        )

    newest = f"changed_at DESC, {', '.join(f'{name} DESC' for name in COORDINATES)}"
    lasts = one("states", f"{SEQUENCE} DESC")
    ends = one("stones", newest)
    joined = ", ".join(
        [*(f"s.{name}" for name in every), *(f"s.{name}" for name in rest.split(", "))]
    )
    both = (
        f"SELECT {joined}, t.changed_at AS tombstone_at FROM last s LEFT JOIN ended t ON {same} "  # noqa: S608 # our own words
        f"UNION ALL SELECT {joined}, s.changed_at AS tombstone_at FROM ended s "
        f"LEFT JOIN last t ON {same} WHERE t.number IS NULL"
    )
    gone = f"({DELETED} OR coalesce(tombstone_at >= changed_at, false))"
    told = dict(zip(fields, _bare(fields, "gone"), strict=True))
    told[DELETED] = f"gone AS {DELETED}"
    shown = ", ".join(told.get(name, f'"{name}"') for name in columns)
    return (
        f"WITH {_states(changes, fields)}, last AS ({lasts}), ended AS ({ends}), "  # noqa: S608 # our own words
        f"both_of AS ({both}) SELECT {shown} FROM (SELECT *, {gone} AS gone FROM both_of)"
    )


def _history(changes: Changes, fields: list[str], columns: list[str]) -> str:
    by, every = _quoted(changes.by), _quoted((*changes.by, *fields))
    keys = ", ".join(by)
    rest = ["changed_at", SEQUENCE, DELETED, *COORDINATES]
    own = ", ".join([*every, *rest])
    stones = ", ".join(f"s.{name}" for name in [*every, *rest])
    same = " AND ".join(f"s.{name} = t.{name}" for name in by)
    ranked = (
        f"SELECT {own}, {SEQUENCE} AS rank, 0 AS stone FROM states UNION ALL "  # noqa: S608 # our own words
        f"SELECT {stones}, max(t.{SEQUENCE}) AS rank, 1 AS stone FROM stones s "
        f"LEFT JOIN states t ON {same} AND t.changed_at <= s.changed_at GROUP BY {stones}"
    )
    window = f"PARTITION BY {keys} ORDER BY rank NULLS FIRST, stone, changed_at"
    began = (
        f"SELECT *, max(changed_at) OVER ({window} ROWS UNBOUNDED PRECEDING) AS effective_from "  # noqa: S608 # our own words
        "FROM ranked"
    )
    ended = f"SELECT *, lead(effective_from) OVER ({window}) AS effective_to FROM began"  # noqa: S608 # our own words
    told = dict(zip(fields, _bare(fields, DELETED), strict=True))
    told["is_current"] = f"(effective_to IS NULL AND NOT {DELETED}) AS is_current"
    shown = ", ".join(told.get(name, f'"{name}"') for name in columns)
    return (
        f"WITH {_states(changes, fields)}, ranked AS ({ranked}), began AS ({began}), "  # noqa: S608 # our own words
        f"ended AS ({ended}) SELECT {shown} FROM ended"
    )

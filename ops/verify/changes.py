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
    """Return the states of rows, each sequence once, and the tombstones, each place once."""
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
        f"states AS ({newest(SEQUENCE, 'IS NOT NULL')}), "
        f"stones AS ({newest(_PLACE, 'IS NULL')})"
    )


def _bare(fields: list[str], gone: str) -> list[str]:
    return [f"CASE WHEN {gone} THEN NULL ELSE {name} END AS {name}" for name in _quoted(fields)]


def _deletes(changes: Changes) -> str:
    """Return that a tombstone `s` deletes a state `t`."""
    same = ("source_topic", "source_partition", *_quoted(changes.by))
    return " AND ".join(
        [*(f"s.{n} = t.{n}" for n in same), "t.source_offset < s.source_offset"]
    )


def _current(changes: Changes, fields: list[str], columns: list[str]) -> str:
    keys = ", ".join(_quoted(changes.by))
    lasts = (
        "SELECT * FROM (SELECT *, row_number() OVER "  # noqa: S608 # our own words
        f"(PARTITION BY {keys} ORDER BY {SEQUENCE} DESC) AS number FROM states) WHERE number = 1"
    )
    own = [*_quoted((*changes.by, *fields)), "changed_at", SEQUENCE, DELETED, *COORDINATES]
    of = ", ".join(f"t.{name}" for name in own)
    ended = (
        f"SELECT {of}, max(s.changed_at) AS tombstone_at FROM lasts t "  # noqa: S608 # our own words
        f"LEFT JOIN stones s ON {_deletes(changes)} GROUP BY {of}"
    )
    gone = f"({DELETED} OR tombstone_at IS NOT NULL)"
    told = dict(zip(fields, _bare(fields, "gone"), strict=True))
    told[DELETED] = f"gone AS {DELETED}"
    shown = ", ".join(told.get(name, f'"{name}"') for name in columns)
    return (
        f"WITH {_states(changes, fields)}, lasts AS ({lasts}), ended AS ({ended}) "  # noqa: S608 # our own words
        f"SELECT {shown} FROM (SELECT *, {gone} AS gone FROM ended)"
    )


def _history(changes: Changes, fields: list[str], columns: list[str]) -> str:
    keys = ", ".join(_quoted(changes.by))
    own = [*_quoted((*changes.by, *fields)), "changed_at", SEQUENCE, DELETED, *COORDINATES]
    every, stones = ", ".join(own), ", ".join(f"s.{name}" for name in own)
    ranked = (
        f"SELECT {every}, {SEQUENCE} AS rank, 0 AS stone FROM states UNION ALL "  # noqa: S608 # our own words
        f"SELECT {stones}, max(t.{SEQUENCE}) AS rank, 1 AS stone FROM stones s "
        f"LEFT JOIN states t ON {_deletes(changes)} GROUP BY {stones}"
    )
    window = f"PARTITION BY {keys} ORDER BY rank NULLS FIRST, stone, {_PLACE}"
    # The next state is that of the next rank, as of one rank there is one state, the first.
    following = (
        f"SELECT *, min(CASE WHEN stone = 0 THEN rank END) OVER ({window} ROWS BETWEEN 1 FOLLOWING "  # noqa: S608 # our own words
        "AND UNBOUNDED FOLLOWING) AS next_rank FROM ranked"
    )
    same = " AND ".join(f"f.{name} = t.{name}" for name in _quoted(changes.by))
    timed = (
        "SELECT f.*, CASE WHEN f.stone = 1 AND t.changed_at < f.changed_at THEN t.changed_at "  # noqa: S608 # our own words
        f"ELSE f.changed_at END AS own FROM following f LEFT JOIN states t ON {same} "
        f"AND t.{SEQUENCE} = f.next_rank"
    )
    began = (
        f"SELECT *, max(own) OVER ({window} ROWS UNBOUNDED PRECEDING) AS effective_from "  # noqa: S608 # our own words
        "FROM timed"
    )
    ended = f"SELECT *, lead(effective_from) OVER ({window}) AS effective_to FROM began"  # noqa: S608 # our own words
    told = dict(zip(fields, _bare(fields, DELETED), strict=True))
    told["is_current"] = f"(effective_to IS NULL AND NOT {DELETED}) AS is_current"
    shown = ", ".join(told.get(name, f'"{name}"') for name in columns)
    return (
        f"WITH {_states(changes, fields)}, ranked AS ({ranked}), following AS ({following}), "  # noqa: S608 # our own words
        f"timed AS ({timed}), began AS ({began}), ended AS ({ended}) SELECT {shown} FROM ended"
    )

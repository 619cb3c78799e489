"""Records with what was looked up for them, worked out anew from silver by another engine."""

from typing import Final

from flows.enriching import joins_of
from flows.settings import Settings
from flows.streams import Enriched
from flows.streams.lookups import Lookup
from operators.changes import DELETED, SEQUENCE
from ops.verify.joined import Joined
from ops.verify.report import Check
from ops.verify.tables import Tables

_NAME: Final = "enriched"

# Of states of one time the last counts, and none of the others ever.
_STATES: Final = """
    SELECT * FROM (
        SELECT *, event_time AS begins, lead(event_time) OVER (
            PARTITION BY {by} ORDER BY event_time, source_partition, source_offset
        ) AS ends
        FROM ({counted}){some}
    ) WHERE NOT {deleted}
"""


def check_enriched(settings: Settings, declared: Enriched, tables: Tables) -> list[Check]:
    """Check an enriched table, and that of what was late for it.

    Without them, and those of the streams' own flows, there are no checks. All flows must have
    caught up. Raises KafkaUnavailableError where the topics cannot be read.
    """
    joins, streams = joins_of(declared, settings), declared.streams
    table = declared.table(0).name
    if not all(map(tables.there, [table, *(each.silver.name for each in streams)])):
        return []
    made, late = tables.handle(table), tables.handle(declared.late.name)
    silver = {each.name: (each, tables.handle(each.silver.name)) for each in streams}
    books = Joined(settings, silver, made, late)
    books.register(_NAME, made)
    # Tombstones of an envelope take no part.
    timed = {e.name: SEQUENCE for e in streams if e.changes and e.changes.enveloped}
    names = " and ".join(each.stream.name for each in declared.lookups)
    schema = dict(joins[0].left.schema)
    for join in joins:
        schema |= join.right.schema
    return [
        books.check_late(
            f"{declared.late.name} holds every record that was late for the join, once", timed
        ),
        books.check_rows(
            f"{table} equals silver's {declared.stream.name} with {names} as of then, row for row",
            _made(declared, books, timed),
            _NAME,
            schema | {"settled_at": joins[0].schema["settled_at"]},
            books.watermark(declared.name, made),
        ),
    ]


def _made(declared: Enriched, books: Joined, timed: dict[str, str]) -> str:
    first, *_ = joins_of(declared, books.settings)
    columns = [f"a.{name}" for name in first.left.columns]
    states, joined = [f"asking AS ({books.counted(declared.stream.name)})"], ""
    for number, each in enumerate(declared.lookups):
        one = f"s{number}"
        states.append(f"{one} AS ({_states(each, books, timed)})")
        columns += [f"{one}.{column} AS {name}" for name, column in each.columns.items()]
        same = [
            f"a.{asked} = {one}.{own}" for asked, own in zip(each.by, each.key, strict=True)
        ]
        joined += (
            f" LEFT JOIN {one} ON {' AND '.join(same)} AND a.event_time >= {one}.begins "
            f"AND (a.event_time < {one}.ends OR {one}.ends IS NULL)"
        )
    return (
        f"WITH {', '.join(states)} SELECT {', '.join(columns)}, "  # noqa: S608 # our own words
        f"a.event_time + INTERVAL '1 microseconds' AS settled_at FROM asking AS a{joined}"
    )


def _states(lookup: Lookup, books: Joined, timed: dict[str, str]) -> str:
    name = lookup.stream.name
    return _STATES.format(
        by=", ".join(lookup.key),
        counted=books.counted(name),
        some=f" WHERE {timed[name]} IS NOT NULL" if name in timed else "",
        deleted=DELETED,
    )

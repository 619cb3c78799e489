"""What an enforced topic's tables have of rejects that are sent again, by its id."""

from collections.abc import Mapping

import polars as pl
from deltalake import DeltaTable, QueryBuilder

from flows.enforced.topic import Enforced
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query, streamed
from operators.records.identities import ORIGIN
from ops.dlq.judge import JUDGED
from ops.dlq.quarantine import Place, quoted

_EVENT = ("event_id", "event_hour")


def events_of(handle: DeltaTable, topic: Enforced, good: pl.DataFrame) -> pl.DataFrame:
    """Return the events, among those that are `good`, that a topic's table has.

    They are `event_id` and `event_hour`, which is none; of a topic without an id there are none.
    """
    found = [pl.DataFrame(schema={name: JUDGED[name] for name in _EVENT})]
    if topic.tells_apart:
        own = topic.told_by.replace('"', '""')
        engine = QueryBuilder().register("rows", handle)
        sql = f'SELECT CAST("{own}" AS VARCHAR) AS event_id FROM rows'  # noqa: S608 # quoted
        for rows in streamed(engine, sql):
            some = rows.select(pl.col("event_id").cast(pl.String)).unique()
            there = some.filter(pl.col("event_id").is_in(good["event_id"].implode()))
            found.append(there.with_columns(event_hour=pl.lit(0, pl.Int64)))
    return pl.concat(found)


def read_of_topic(
    root: str, topic: Enforced, spans: Mapping[tuple[str, int], tuple[int, int]]
) -> dict[Place, Place]:
    """Return where records are that were sent again, by where they came from, as tables have them.

    Looked at are offsets from and up to, by topic and partition, which the topic has no more. A
    topic without an id tells of none. Raises DeltaError.
    """
    found: dict[Place, Place] = {}
    for table in (topic.silver, topic.duplicates) if topic.tells_apart else ():
        uri = table_uri(root, table.name)
        if not (spans and DeltaTable.is_deltatable(uri)):
            continue
        handle = DeltaTable(uri)
        if ORIGIN not in columns_of(handle):
            continue
        for (name, partition), (first, last) in spans.items():
            rows = query(
                handle,
                f"SELECT source_offset, {ORIGIN} FROM rows WHERE {ORIGIN} IS NOT NULL "  # noqa: S608 # quoted
                f"AND source_topic = {quoted(name)} AND source_partition = {partition} "
                f"AND source_offset >= {first} AND source_offset < {last}",
            )
            for offset, origin in rows.iter_rows():
                of, its, at = origin.rsplit("/", 2)
                found[of, int(its), int(at)] = name, partition, offset
    return found

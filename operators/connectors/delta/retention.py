"""Retention: rows of a table that are too old are deleted, and the table tells up to where.

Rows by offset are cut at an offset of each partition: up to the last one before which none is as
young as what is kept. So it is known which are gone. Rows of windows are cut at a time.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from deltalake import DeltaTable

from operators.connectors.delta.cuts import PROPERTY, offsets_of, told_of
from operators.connectors.delta.durability import sync_commit
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.maintenance import delete, done
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching
from operators.records.batches import NO_WATERMARK
from operators.records.tables import COORDINATES, Table

# Of each partition, what is behind the last offset up to which all rows are too old.
_ENDS: Final = """SELECT source_topic, source_partition,
    coalesce(min(CASE WHEN NOT ({old}) THEN source_offset END) - 1, max(source_offset)) AS last,
    min(source_offset) AS first
FROM rows GROUP BY source_topic, source_partition"""


@dataclass(frozen=True)
class Cut:
    """Up to where rows are gone: offsets by topic and partition, or the end of windows in µs.

    Both are inclusive.
    """

    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    until: int = NO_WATERMARK

    def of(self, topic: str) -> dict[int, int]:
        """Return the last offset that is gone by partition of a topic."""
        return dict(self.offsets.get(topic, {}))


def cut_of(handle: DeltaTable) -> Cut:
    """Return up to where a table's rows are gone."""
    return Cut(offsets_of(handle), told_of(handle).get("until", NO_WATERMARK))


def retain(
    root: str,
    table: Table,
    keep: timedelta,
    *,
    dry: bool,
    told: Callable[[int, datetime], None] = lambda _, __: None,
) -> dict[str, Any]:
    """Delete rows that are older than `keep`; a `dry` run only counts. Return what it did.

    Age is by Kafka's time, or when a row was written if that has none; of windows by their end.
    `told` hears how many rows are about to go, and of before when they are.
    Raises OwnedError and StorageUnavailableError.
    """
    until = datetime.now(UTC) - keep
    uri = table_uri(root, table.name)
    with reaching(uri):
        handle = DeltaTable(uri)
        new = _cut(handle, table, until)
        where = _where(table, new)
        rows = 0
        if where:
            rows = int(query(handle, f"SELECT count(*) FROM rows WHERE {where}").item())  # noqa: S608 # our own words
    if rows and not dry:
        told(rows, until)
        # Told first: who finds rows missing has to know why.
        done(root, table, lambda handle: _tell(handle, new))
        delete(root, table, where)
    return {"older_than": until, "rows": rows, "deleted": 0 if dry else rows}


def _cut(handle: DeltaTable, table: Table, until: datetime) -> Cut:
    if not COORDINATES.keys() <= table.columns.keys():
        return Cut(until=int(until.timestamp() * 1_000_000))
    there = columns_of(handle)
    times = [n for n in ("kafka_timestamp", "event_time", "written_at") if n in there]
    found = query(handle, _ENDS.format(old=f"coalesce({', '.join(times)}) < {_time(until)}"))
    offsets: dict[str, dict[int, int]] = {
        t: dict(of) for t, of in cut_of(handle).offsets.items()
    }
    for topic, partition, last, first in found.rows():
        if last >= first:
            offsets.setdefault(topic, {})[int(partition)] = int(last)
    return Cut(offsets)


def _time(at: datetime) -> str:
    """Return a time as a literal of the type that tables have: statistics are not cast."""
    return f"arrow_cast('{at.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _where(table: Table, cut: Cut) -> str:
    if cut.until != NO_WATERMARK:
        end = datetime.fromtimestamp(cut.until / 1_000_000, UTC)
        return f"window_end <= {_time(end)}"
    parts = [
        f"(source_topic = '{topic.replace(chr(39), chr(39) * 2)}' "
        f"AND source_partition = {partition} AND source_offset <= {last})"
        for topic, of in cut.offsets.items()
        for partition, last in of.items()
    ]
    return " OR ".join(parts)


def _tell(handle: DeltaTable, cut: Cut) -> None:
    told: dict[str, Any] = {}
    if cut.offsets:
        told["offsets"] = cut.offsets
    if cut.until != NO_WATERMARK:
        told["until"] = cut.until
    handle.alter.set_table_properties({PROPERTY: json.dumps(told)}, raise_if_not_exists=False)
    sync_commit(handle)

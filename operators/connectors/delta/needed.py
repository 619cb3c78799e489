"""Needed: up to which offsets records bear on what happened before a time, as a table tells it."""

from datetime import datetime
from typing import Final

from deltalake import DeltaTable

from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching

_ENDS: Final = (
    "SELECT source_partition AS p, "
    "max(CASE WHEN event_time < '{before}' THEN source_offset END) AS newest, "
    "min(CASE WHEN watermark >= '{due}' THEN source_offset END) AS closing "
    "FROM rows WHERE source_topic = '{topic}' GROUP BY source_partition"
)


def needed(
    root: str, silver: str, topic: str, before: datetime, due: datetime
) -> dict[int, int]:
    """Return the last offset, by partition, that bears on events before a time.

    By then all records of such events have come that the table has, and the partition's watermark
    has reached `due`, at which all windows of them have closed. A partition whose watermark never
    comes so far is not in it: all of it is needed. Raises StorageUnavailableError.
    """
    uri, name = table_uri(root, silver), topic.replace("'", "''")
    text = _ENDS.format(before=before.isoformat(), due=due.isoformat(), topic=name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            return {}
        found = query(DeltaTable(uri), text)
    return {
        int(p): max(int(closing), -1 if newest is None else int(newest))
        for p, newest, closing in found.rows()
        if closing is not None
    }

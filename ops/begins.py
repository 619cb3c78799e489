"""Where tables under two roots begin: those of a topic lack what Kafka had deleted by then."""

from deltalake import DeltaTable

from flows.streams import STREAMS
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import Table

_FIRSTS = (
    "SELECT source_topic AS t, source_partition AS p, min(source_offset) AS first FROM rows "
    "GROUP BY source_topic, source_partition"
)


class BeginsLaterError(KnownError):
    """Rows would be lost."""


def refuse_later(root: str, other: str, tables: list[Table]) -> None:
    """Refuse tables under another root that begin behind those here, as their bronze tells.

    Raises BeginsLaterError and StorageUnavailableError.
    """
    names = {each.name for each in tables}
    for stream in STREAMS:
        if not stream.alone or not names & {each.name for each in stream.all_tables}:
            continue
        mine, its = (_firsts(each, stream.bronze) for each in (root, other))
        later = {place: at for place, at in its.items() if at > mine.get(place, at)}
        if later:
            (topic, partition), first = min(later.items())
            raise BeginsLaterError(
                f"the tables of {stream.name} under {other} begin at offset {first} of "
                f"{topic}/{partition}, and those under {root} before: switch days that are whole, "
                "with --days"
            )


def _firsts(root: str, bronze: Table) -> dict[tuple[str, int], int]:
    uri = table_uri(root, bronze.name)
    with reaching(uri):
        if not DeltaTable.is_deltatable(uri):
            return {}
        return {
            (t, int(p)): int(first) for t, p, first in query(DeltaTable(uri), _FIRSTS).rows()
        }

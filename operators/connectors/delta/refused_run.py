"""Refused in a row: how many records were that lie before one, as a stream's tables have them."""

from typing import Final

from deltalake import DeltaTable

from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching
from operators.records.tables import Ledger

_REFUSED: Final = (
    "SELECT source_offset FROM rows WHERE {where} AND stage IN ('decode', 'contract')"
)


def refused_before(root: str, ledger: Ledger, most: int, partition: int, offset: int) -> int:
    """Return how many records of a partition before an offset were refused in a row.

    More than `most` are not looked for. The tables have each record before the offset, as they do
    where a flow goes on. Raises StorageUnavailableError.
    """
    mine = f"source_partition = {partition}"
    refused = _opened(root, ledger.refused.name)
    if refused is None:
        return 0
    with reaching(refused.table_uri):
        rows = query(
            refused,
            f"{_REFUSED.format(where=f'{mine} AND source_offset < {offset}')} "
            f"ORDER BY source_offset DESC LIMIT {most}",
        )
    if not rows.height:
        return 0
    offsets = rows["source_offset"]
    for table in (ledger.good, ledger.repeated):
        good = None if table is None else _opened(root, table.name)
        if good is None:
            continue
        newest, oldest = offsets[0], offsets[-1]
        with reaching(good.table_uri):
            # Most likely one is behind all of them, and it takes no look at the others.
            behind = _among(newest, offset, mine)
            if query(good, f"SELECT source_offset FROM rows WHERE {behind} LIMIT 1").height:  # noqa: S608 # our own
                return 0
            last = query(
                good,
                f"SELECT max(source_offset) FROM rows WHERE {_among(oldest, newest, mine)}",  # noqa: S608 # our own
            ).item()
        if last is not None:
            offsets = offsets.filter(offsets > int(last))
    return len(offsets)


def _among(behind: int, before: int, mine: str) -> str:
    return f"{mine} AND source_offset > {behind} AND source_offset < {before}"


def _opened(root: str, name: str) -> DeltaTable | None:
    uri = table_uri(root, name)
    with reaching(uri):
        return DeltaTable(uri) if DeltaTable.is_deltatable(uri) else None

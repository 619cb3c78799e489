"""Accounts: what a table accounts for, also where its transactions do not say so any more."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from operators.connectors.delta.commits import newest_fence, restored
from operators.connectors.delta.errors import FencedError
from operators.connectors.delta.layout import columns_of, missing_columns
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import Fence, Fenced, reaching
from operators.event_time.frontier import Frontier
from operators.records.tables import COORDINATES, Table

RETENTION: Final = "delta.setTransactionRetentionDuration"

_LAST: Final = (
    "SELECT source_topic, source_partition, max(source_offset) FROM rows "
    "GROUP BY source_topic, source_partition"
)


@dataclass(frozen=True)
class Told:
    """A fence that is told elsewhere; reads as the table's transactions do."""

    table_uri: str
    versions: Mapping[str, int]

    def transaction_version(self, app_id: str) -> int | None:
        """Return the version that goes with an id."""
        return self.versions.get(app_id)


class FenceLostError(FencedError):
    """Tables have rows, and nothing tells any more what these account for."""

    def __init__(self, tables: Sequence[tuple[str, bool]]) -> None:
        """`tables` are names, and whether the table's transactions may be dropped by age."""
        self.tables = tuple(tables)
        names = " and ".join(name for name, _ in tables)
        why = (
            f" (a checkpoint of another engine dropped it: their property {RETENTION} is set)"
            if any(limited for _, limited in tables)
            else ""
        )
        super().__init__(
            f"what the rows of {names} account for is no longer in their logs{why}: more rows "
            "would be there twice or never. Delete these tables and the recovery directory: "
            "the flow then adds to each table only what it lacks, of silver or of the whole topic"
        )


def fenced(handle: DeltaTable, fence: Fence) -> Fenced:
    """Return what tells a table's fence: its transactions, or else its newest commit of the flow.

    Other engines' checkpoints drop transactions where the table's properties say so.
    """
    if fence.read(handle) != Frontier():
        return handle
    told = newest_fence(handle, fence.flow)
    return handle if told is None else Told(handle.table_uri, told)


def recorded(handle: DeltaTable, fence: Fence) -> Frontier:
    """Return what a table accounts for as its log tells it."""
    return fence.read(fenced(handle, fence))


def accounted(handle: DeltaTable, table: Table, fence: Fence) -> tuple[Frontier, bool]:
    """Return what a table accounts for, and whether its transactions lack that.

    Rows by offset tell themselves the last of them; between it and the fence there was none
    for this table, so one does as well as the other. Raises FenceLostError of a table that has
    rows and nothing that tells.
    """
    found = fence.read(handle)
    if found != Frontier():
        return found, False
    # Not `recorded`, which would look for all of the fence's transactions again.
    told = newest_fence(handle, fence.flow)
    found = Frontier() if told is None else fence.read(Told(handle.table_uri, told))
    if found == Frontier() and handle.file_uris():
        if table.fenced == "by window" or not COORDINATES.keys() <= columns_of(handle).keys():
            limited = RETENTION in handle.metadata().configuration
            raise FenceLostError([(table.name, limited)])
        found = _of_rows(handle, fence)
    return found, found != Frontier()


def _of_rows(handle: DeltaTable, fence: Fence) -> Frontier:
    last = query(handle, _LAST).rows()
    frontier = Frontier({(topic, int(part)): offset for topic, part, offset in last})
    # Of the flow's own topics, as its transactions would have it.
    told = {each.app_id: each.version for each in fence.transactions(frontier)}
    return fence.read(Told(handle.table_uri, told))


def refuse_restored(handle: DeltaTable, table: Table, fence: Fence) -> None:
    """Refuse a table whose rows were rolled back while its fence was not.

    That is what a restore does, unless it writes the older version's fence as well. Raises
    FencedError.
    """
    now = recorded(handle, fence)
    found = restored(handle, fence.offset_ids(now.offsets))
    if found is None:
        return
    try:
        older = DeltaTable(handle.table_uri)
        older.load_as_version(found.to)
        then = fence.read(older)
        if then == Frontier():
            told = newest_fence(handle, fence.flow, older.version())
            then = then if told is None else fence.read(Told(handle.table_uri, told))
    # A ValueError is of a time without its zone.
    except (DeltaError, OSError, ValueError):
        then = Frontier()
    untold = {
        place for id_, place in fence.offset_ids(now.offsets).items() if id_ in found.untold
    }
    if untold < now.offsets.keys():
        # Another slice has gone on behind it.
        then, now = (
            Frontier({place: at for place, at in each.offsets.items() if place in untold})
            for each in (then, now)
        )
    if then != now:
        what = f"version {found.to}" if isinstance(found.to, int) else f"rows of {found.to}"
        raise FencedError(
            f"table {table.name} was restored to its {what}: its rows went back, but not the "
            "offsets that it accounts for, so what it has lost would never be written again. "
            "Delete this table and the recovery directory: the flow then adds to "
            "each table only what it lacks, of silver or of the whole topic"
        )


def refuse_behind(
    table: Table, reached: Frontier, offsets: Iterable[tuple[str, int, int]]
) -> None:
    """Refuse a table that is behind what the recovery store knows it committed.

    `offsets` are those, as (topic, partition, offset). Raises FencedError.
    """
    behind = [
        f"{topic}/{partition}: {offset} committed, table at "
        f"{reached.offsets.get((topic, partition))}"
        for topic, partition, offset in offsets
        if reached.offsets.get((topic, partition), -1) < offset
    ]
    if behind:
        raise FencedError(
            f"table {table.name} is behind the recovery store ({'; '.join(behind)}): it was "
            "deleted or restored to an older version. Restore the recovery directory of the "
            "same time, or start with an empty one: the flow then adds to each "
            "table only what it lacks, of silver or of the whole topic"
        )


def tables_there(root: str, tables: Iterable[Table]) -> Iterator[tuple[Table, DeltaTable]]:
    """Yield those of the tables that are there; raises StorageUnavailableError."""
    for table in tables:
        uri = table_uri(root, table.name)
        with reaching(uri):
            if DeltaTable.is_deltatable(uri):
                yield table, DeltaTable(uri)


def frontiers_of(root: str, tables: Iterable[Table], fence: Fence) -> list[Frontier]:
    """Return what each of the tables that are there accounts for, as storage has it now.

    Raises StorageUnavailableError, FencedError of a table that was restored, UnfitTableError,
    and FenceLostError of all tables that do not tell.
    """
    found: list[Frontier] = []
    lost: list[tuple[str, bool]] = []
    for table, handle in tables_there(root, tables):
        missing_columns(handle, table)
        with reaching(handle.table_uri):
            refuse_restored(handle, table, fence)
            try:
                found.append(accounted(handle, table, fence)[0])
            except FenceLostError as error:
                lost += error.tables
    if lost:
        raise FenceLostError(lost)
    return found


def has_rows(root: str, table: Table, fence: Fence) -> bool:
    """Tell whether a table is there and accounts for anything; raises StorageUnavailableError."""
    return any(
        recorded(handle, fence) != Frontier() for _, handle in tables_there(root, [table])
    )

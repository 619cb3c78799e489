"""Warming: up to where tables can bring a flow's state that has none of its own any more."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deltalake import DeltaTable

from operators.connectors.delta.accounts import Told, accounted, fenced, tables_there
from operators.connectors.delta.commits import fences
from operators.connectors.delta.reading import query
from operators.connectors.delta.retention import cut_of
from operators.connectors.delta.table import Fence, reaching
from operators.errors import KnownError
from operators.event_time.frontier import Frontier
from operators.records.tables import Ledger, Table

LOG: Final = logging.getLogger("millstream.delta")

_REFUSED: Final = "stage IN ('decode', 'contract')"


@dataclass(frozen=True)
class Warming:
    """How far tables account for a topic's partitions, inclusive offsets by partition.

    State is made of their rows up to `until`, and the topic read behind it. Behind `sure` a crash
    may have kept an epoch from some tables: what comes of those rows goes to all of them, and
    their fences drop what is there.
    """

    until: Mapping[int, int]
    sure: Mapping[int, int]


def warming(
    root: str,
    ledger: Ledger,
    tables: Sequence[Table],
    fence: Fence,
    topic: str,
    has: Callable[[Mapping[int, int]], bool],
) -> Warming | None:
    """Return up to where the ledger can bring the state of the flow that writes `tables`.

    None where it can't, and the topic is to be read from its beginning: before there were rows,
    and where a table is missing that only the topic can fill again.

    An epoch's rows are committed to one table after the other, and only when all have them does
    the next one begin. So the tables have all epochs but the newest, or all up to where silver is.
    What is behind that is read from the
    topic again if it still `has` all records from offsets by partition on, or if not all that
    came in it went to one of the three.
    """
    handles = {table.name: handle for table, handle in tables_there(root, tables)}
    counted, records = ledger.counted, ledger.records
    if records is None or any(
        t.name not in handles for t in (records, *counted, *ledger.others)
    ):
        return None
    found = {}
    for table in tables:
        if table.name in handles:
            with reaching(handles[table.name].table_uri):
                found[table.name] = accounted(handles[table.name], table, fence)[0]
    end = _of(found[records.name], topic)
    if not (end and _of(found[ledger.good.name], topic)):
        return None
    with reaching(handles[records.name].table_uri):
        before = _of(_before(handles[records.name], fence), topic)
        # Any of them may have been made anew or restored since, and then lacks more.
        ends = [before, *(_of(found[table.name], topic) for table in counted)]
        begin = {p: min(each.get(p, -1) for each in ends) for p in end}
        # What retention has cut is in no table, and was in those that it had to be in.
        for table in (records, *counted):
            for p, offset in cut_of(handles[table.name]).of(topic).items():
                begin[p] = max(begin.get(p, -1), offset)
        if not _accounts(ledger, handles, topic, begin, before):
            # Of two crashes in a row the replay's epochs may be shorter: silver has less then.
            good = _of(found[ledger.good.name], topic)
            before = {p: min(offset, good.get(p, -1)) for p, offset in before.items()}
        if not _accounts(ledger, handles, topic, begin, before):
            LOG.warning(
                "%s lack records that %s has: state is made of what the topic has",
                " and ".join(", ".join(each.name for each in counted).rsplit(", ", 1)),
                records.name,
            )
            return None
        until = before
        if not (before and has({p: before.get(p, -1) + 1 for p in end})):
            until = end if _accounts(ledger, handles, topic, before, end) else before
    if not until:
        return None
    return Warming(until, before)


def recorded(root: str, records: Table, fence: Fence, topic: str) -> Warming:
    """Return how far a table of records as ingested accounts for a topic, to read all of it.

    Raises KnownError if it is not under the root, or of another topic of that name.
    """
    there = tables_there(root, [records])
    if not there:
        raise KnownError(
            f"there is no {records.name} under {root}: name the root of the tables that are to be "
            "made anew"
        )
    ((_, handle),) = there
    fence.refuse_others(fenced(handle, fence))
    with reaching(handle.table_uri):
        found = accounted(handle, records, fence)[0]
    return Warming(_of(found, topic), {})


def _accounts(
    ledger: Ledger,
    handles: Mapping[str, DeltaTable],
    topic: str,
    begin: Mapping[int, int],
    end: Mapping[int, int],
) -> bool:
    """Tell whether the three have every record behind an offset, up to another (inclusive)."""

    def count(table: Table, where: str = "") -> int:
        return _count(handles[table.name], topic, begin, end, where)

    went = count(ledger.good) + count(ledger.refused, _REFUSED)
    if ledger.repeated is not None:
        went += count(ledger.repeated)
    return sum(map(count, ledger.read)) <= went


def _of(frontier: Frontier, topic: str) -> dict[int, int]:
    return {p: offset for (name, p), offset in frontier.offsets.items() if name == topic}


def _before(handle: DeltaTable, fence: Fence) -> Frontier:
    """Return what a table accounted for before its newest epoch."""
    found = fences(handle, fence.flow)
    newest, other = next(found, None), next(found, None)
    if newest is None:
        # Written before commits told: all that is known is what there is.
        return fence.read(handle)
    if other is not None:
        return fence.read(Told(handle.table_uri, other[0]))
    # The log goes back no further. What moved is told, before the very first commit nothing.
    now, moved = newest
    return fence.read(Told(handle.table_uri, {**now, **moved} if moved else {}))


def _count(
    handle: DeltaTable,
    topic: str,
    begin: Mapping[int, int],
    end: Mapping[int, int],
    where: str = "",
) -> int:
    if not end:
        return 0
    spans = " OR ".join(
        f"(source_partition = {p} AND source_offset > {begin.get(p, -1)} "
        f"AND source_offset <= {last})"
        for p, last in end.items()
    )
    name = topic.replace("'", "''")
    text = f"source_topic = '{name}' AND ({spans}){where and ' AND '}{where}"
    return int(query(handle, f"SELECT count(*) FROM rows WHERE {text}").item())  # noqa: S608 # our own words

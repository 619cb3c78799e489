"""Tables and the recovery store against each other and the topics, by the checks of a start."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from flows.catalog import Flow
from flows.definitions import (
    as_today,
    definitions,
    refuse_or_set_aside,
    refuse_two_kinds_of_rows,
)
from flows.own_tables import OwnTables, sink_of
from flows.sources import refuse_shorter
from operators.connectors import recovery, recovery_owner
from operators.connectors.delta.accounts import frontiers_of, refuse_behind, tables_there
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.kafka import client as kafka
from operators.event_time.frontier import Frontier
from operators.records.tables import Table
from ops.doctor.checks import NoteError
from ops.doctor.servers import SECONDS
from ops.topics_now import refuse_gone

Topics = Mapping[str, Sequence[int]]


def tables(flow: Flow, topics: Topics, identities: Mapping[str, str]) -> str:
    """See that a flow's tables are its own, whole, of today's definitions and of these topics."""
    settings = flow.settings
    refuse_two_kinds_of_rows(settings.delta_root, flow.tables)
    found: list[Frontier] = []
    for sink, own in _sinks(flow, topics, identities):
        sink.refuse_others()
        found += frontiers_of(settings.delta_root, own, sink.fence)
    if not found:
        return "are not there yet: the first start makes them"
    for topic in flow.topics:
        ends = kafka.end_offsets(settings.kafka, topic, topics[topic], SECONDS)
        refuse_shorter(topic, ends, found)
    return f"{len(found)} of {len(flow.tables)} are there, and fit this flow and its topics"


def store(flow: Flow, directory: Path, topics: Topics, identities: Mapping[str, str]) -> str:
    """See that a recovery store is this flow's, of these topics, and that tables reach up to it."""
    if recovery_owner.owner(directory) is None:
        if any(tables_there(flow.settings.delta_root, flow.tables)):
            raise NoteError(
                f"there is no recovery store in {directory}, but there are tables; a start makes "
                "state of their rows: if the flow has had a store, name its folder with -r"
            )
        return "is not there yet: the first start makes it"
    recovery_owner.refuse_others(directory, flow.name, identities)
    root, config = flow.settings.delta_root, flow.settings.kafka
    for topic in flow.topics:
        known = recovery.offsets(directory, topic)
        positions = {p: offset for p, offset in known.items() if offset is not None}
        refuse_gone(
            topic, kafka.first_offsets(config, topic, topics[topic], SECONDS), positions
        )
    states = recovery.states(directory, [each.name for each in flow.tables])
    sinks = _sinks(flow, topics, identities)
    for sink, own in sinks:
        for table in own:
            if table.name in states:
                (reached,) = frontiers_of(root, [table], sink.fence) or [Frontier()]
                refuse_behind(table, reached, states[table.name]["offsets"])
    now: dict[str, str] = {}
    if not flow.enforces:
        # Else there are none that a state could be of.
        now = definitions(
            flow.settings, *flow.reads, own=flow.own, grouped=flow.grouped, lookups=flow.lookups
        )
    before = recovery_owner.changed(directory, now, partial(as_today, now=now))
    if before:
        mine = OwnTables(flow.settings, flow.own, sinks[0][0])
        line = refuse_or_set_aside(flow.name, before, now, mine, lambda: None)
        if line is not None:
            raise NoteError(f"{line}; nothing is to be done, the next start only takes longer")
    reach = ", and its tables reach up to it" if flow.tables else ""
    return f"is this flow's{reach}"


def _sinks(
    flow: Flow, topics: Topics, identities: Mapping[str, str]
) -> list[tuple[DeltaSink, list[Table]]]:
    """Return the sinks that a start makes, each with its tables."""
    found = []
    for names, tables in flow.made_of:
        parts = {topic: topics[topic] for topic in names}
        same = {topic: identities[topic] for topic in names}
        found.append((sink_of(flow.name, flow.settings, parts, same, tables), tables))
    return found

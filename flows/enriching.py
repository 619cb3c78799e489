"""Enriching: records of a stream with others' rows as of their event time, to a table."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as Flowing
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.connecting import Ends
from flows.loading import settings_of
from flows.pipeline import Parts, read, write_tables
from flows.privacy import telling
from flows.reporting import report
from flows.rows import as_versions
from flows.settings import Settings
from flows.starting import start, table_id
from flows.streams import Enriched, Stream
from flows.tables import LATENESS, LOOKUP, out_of_orderness
from operators.columns.durations import micros
from operators.columns.frames import filtered
from operators.connectors.redis.dedup_store import memory_of
from operators.connectors.watched import WatchedSink
from operators.joins import TemporalJoin
from operators.records.tables import Table
from operators.steps.joins import temporal_join, together

Input = tuple[Source[Any], Parts]
"""What of one of the topics the steps read and work with."""


def run(declared: Enriched) -> Dataflow:
    """Return the flow of what is declared with its settings from the environment and real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis,
    the registry or the tables' storage are not there in time.
    """
    return start(
        declared.name,
        lambda: (settings_of(*declared.streams), declared),
        lambda loaded: _connect(*loaded),
    )


def joins_of(declared: Enriched, settings: Settings) -> list[TemporalJoin]:
    """Return the joins with what is looked up, by the settings."""
    topics = {each.name: settings.of(each).topic for each in declared.streams}
    return declared.joins(topics, micros(settings.allowed_lateness))


def defined_tables(declared: Enriched, settings: Settings) -> list[Table]:
    """Return the flow's tables with what their rows are made by: of one lateness, one lookup."""
    lateness = micros(settings.allowed_lateness)
    fixed = {LATENESS: str(lateness), LOOKUP: declared.definition}
    owns = [settings.of(each) for each in declared.streams]
    ordered = {out_of_orderness(own.topic): str(micros(own.out_of_orderness)) for own in owns}
    table = replace(declared.table(lateness), definitions=ordered, fixed=fixed)
    tables = [replace(declared.late, fixed=fixed), table]
    return telling(settings, tables, {each.name: declared.streams for each in tables})


def build(
    declared: Enriched,
    inputs: Mapping[str, Input],
    partitions: Mapping[str, int],
    table_sink: Sink[Any],
    settings: Settings,
) -> Dataflow:
    """Return the topology; `inputs` are by the streams' names, `partitions` by topic.

    `table_sink` takes (table name, rows or progress) items. What is refused or repeated goes
    nowhere here: the streams' own flows keep it.
    """
    flow, groups = Dataflow(declared.name), settings.key_groups
    records = {}
    for each in declared.streams:
        source, parts = inputs[each.name]
        own = settings.of(each)
        found = read(flow, source, each, parts, own, groups, f"{each.name}_")
        records[each.name] = found.good
    asking = records[declared.stream.name]
    made: list[Flowing[pl.DataFrame]] = []
    late: list[Flowing[pl.DataFrame]] = []
    for lookup, join in zip(declared.lookups, joins_of(declared, settings), strict=True):
        name = lookup.stream.name
        states = op.map(f"{name}_states", records[name], partial(as_versions, lookup.stream))
        others = [each for n, each in records.items() if n not in (declared.stream.name, name)]
        joined = temporal_join(
            f"with_{name}", asking, states, join, partitions, groups, *others
        )
        made.append(joined.rows)
        # What asks is late for every join at once, and told by the first.
        of = partial(_of_topic, join.right.topic)
        late.append(op.map(f"{name}_late", joined.late, of) if late else joined.late)
    rows = {
        declared.late.name: op.merge("late", *late),
        declared.table(0).name: together("together", asking, made),
    }
    write_tables(rows, op.merge("progress", *records.values()), table_sink)
    return flow


def _of_topic(topic: str, late: pl.DataFrame) -> pl.DataFrame:
    return filtered(late, late["source_topic"] == topic)


def _connect(settings: Settings, declared: Enriched) -> Dataflow:
    group, tables = group_of(declared, settings), defined_tables(declared, settings)
    _, table = tables
    ends = Ends.of(
        declared.name,
        settings,
        group,
        declared.streams,
        tables=tables,
        lookups=declared.definition,
    )
    sink = ends.tables(tables)
    owner = table_id(settings, table)
    sources = {s.name: ends.source(s, sink, hurried=False) for s in declared.streams}
    told = ends.define(sink, tables, table)

    def connected(stream: Stream) -> Input:
        # Ids of this flow's own. Its table has no duplicates to fill a lost Redis from.
        memory = memory_of(declared.name, settings.of(stream).topic, ends.identities, owner)
        return sources[stream.name], ends.parts(stream, None, memory, None, told)

    inputs = {each.name: connected(each) for each in declared.streams}
    report(declared.name, settings.report_every, tables=settings.delta_root, topics=[])
    partitions = {topic: len(found) for topic, found in ends.topics.items()}
    return build(declared, inputs, partitions, WatchedSink(sink), settings)


def group_of(declared: Enriched, settings: Settings) -> str:
    """Return the flow's consumer group."""
    return f"{settings.of(declared.stream).consumer_group}-{declared.name}"

"""Enforce: any topics whose records are held to schemas and contracts, all of it files.

Run it with ``python -m bytewax.run flows.enforce -r state-enforce``. Of each topic what is good
goes on as it came, to another topic, and to a table; what is not goes to the quarantine and to a
topic of dead letters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as Flowing
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows import dead_letters, watchdog
from flows.dead_letters import Refused
from flows.enforced.loading import FLOW, EnforceLoaded, load, open_schemas
from flows.enforced.topic import Enforced
from flows.flow_settings import FlowSettings
from flows.messages import reject_messages
from flows.outputs import open_outputs
from flows.own_tables import breaker_of, sink_of
from flows.privacy import guard_of, guarded, refuse_mixed, telling
from flows.privacy_settings import PrivacySettings
from flows.reporting import codes_of, expect, report
from flows.rows import with_day
from flows.sources import open_source
from flows.starting import define, prepare_recovery, start, table_id
from flows.told import told
from flows.writing import watched, write_tables
from operators.avro import Lookup
from operators.avro.decode import Decodes
from operators.columns.durations import micros
from operators.connectors import file_limit
from operators.connectors.delta.replayed import SilverPast
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka import output_topics, topic_ids
from operators.connectors.kafka.forward import KafkaForward
from operators.connectors.kafka.reader import READERS
from operators.connectors.watched import WatchedSink
from operators.contracts.contract import Checks
from operators.privacy import Guard
from operators.records.batches import Batch, RawBatch, merge
from operators.records.breaker import Breaker
from operators.records.identities import Identities
from operators.records.quarantine import quarantined
from operators.records.tables import Table
from operators.steps.enforce import enforce


@dataclass(frozen=True)
class Parts:
    """What the steps of a topic work with."""

    topic: Enforced
    source: Source[Any]
    decoder: Decodes
    contract: Checks
    breaker: Breaker
    tables: Sink[Any]
    guard: Guard = field(default_factory=Guard)
    identities: Identities | None = None


def build(topics: Sequence[Parts], valid: Sink[Any] | None, letters: Sink[Any]) -> Dataflow:
    """Return the topology.

    `valid` takes (topic, raw batch) items, and is None where no topic has one that is good goes to;
    `letters` takes (topic, messages or progress).
    """
    flow = Dataflow(FLOW)
    forwarded, refused, tables = [], [], []
    for parts in topics:
        topic, name = parts.topic, parts.topic.name
        raw = op.input(f"{name}_kafka", flow, parts.source)
        found = enforce(
            f"{name}_enforce",
            raw,
            parts.decoder,
            parts.contract,
            parts.breaker,
            parts.identities,
        )
        if topic.validated is not None:
            tag = partial(_tagged, topic.validated)
            forwarded.append(op.map(f"{name}_valid", found.passed, tag))
        kept = op.map(f"{name}_quarantined", found.rejects, partial(quarantined, name))
        refused += [
            op.map(f"{name}_dlq_messages", kept, partial(_letters, topic.dlq, parts.guard)),
            op.map(f"{name}_dlq_progress", found.good, partial(_progress, topic.dlq)),
        ]
        if parts.guard.seals("quarantine"):
            kept = op.map(f"{name}_sealed", kept, partial(parts.guard.sealed, "quarantine"))
        tables.append((parts, found, kept))
    # Steps run in the order in which they are made: records go on before tables have them.
    if valid is not None:
        op.output("valid", op.merge("valid_items", *forwarded), valid)
    op.output("letters", op.merge("letters_items", *refused), letters)
    for parts, found, kept in tables:
        topic, name = parts.topic, parts.topic.name
        silver = op.flat_map_batch(f"{name}_silver", found.good, partial(_rows, topic))
        rows: dict[str, Flowing[Any]] = {
            topic.silver.name: silver,
            topic.quarantine.name: kept,
        }
        if parts.identities is not None:
            rows[topic.duplicates.name] = found.duplicates
        told = watched(found, topic, rows, f"{name}_")
        rows |= {each.name: told[each.name] for each in topic.watched}
        write_tables(rows, found.good, parts.tables, f"{name}_")
    return flow


def _tagged(topic: str, raw: RawBatch) -> tuple[str, RawBatch]:
    return topic, raw


def _letters(topic: str, guard: Guard, rows: pl.DataFrame) -> tuple[str, Any]:
    return topic, reject_messages(rows, guard)


def _progress(topic: str, batch: Batch) -> tuple[str, Any]:
    return topic, batch.progress


def _rows(topic: Enforced, batches: list[Batch]) -> list[pl.DataFrame]:
    rows = merge(batches)
    names = [name for name in topic.silver.columns if name in rows.columns]
    return [with_day(rows[names])]


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings or files that cannot be used and 1 where Kafka, the
    registry or the tables' storage are not there in time.
    """
    return start(FLOW, _load, _connect)


def _load() -> tuple[FlowSettings, EnforceLoaded]:
    loaded = load()
    return loaded.settings, loaded


def _connect(both: tuple[FlowSettings, EnforceLoaded]) -> Dataflow:
    _, loaded = both
    settings, topics, group = loaded.settings, loaded.topics, loaded.own.consumer_group
    watchdog.start(settings.stall_timeout)
    timeout = settings.start_timeout.total_seconds()
    names = [each.topic for each in topics]
    every = {t: kafka.wait_for_partitions(settings.kafka, t, timeout) for t in names}
    partitions = settings.share.of(every)
    identities = topic_ids.identify(settings.kafka, names, timeout)
    for each in topics:
        refuse_mixed(settings.delta_root, tables_of(settings, each))
    prepare_recovery(FLOW, identities, {}, slice_=settings.share, grows=True)
    lookup = open_schemas(settings, topics)
    letters = open_outputs(
        settings,
        {each.dlq: len(every[each.topic]) for each in topics},
        group,
        identities,
        settings.share.shared(partitions),
    )
    valid = _forward(settings, topics, every, identities, group)
    _allow_files(settings, partitions)
    parts = [_parts(loaded, each, partitions, identities, lookup) for each in topics]
    written = [each.validated for each in topics if each.validated is not None]
    report(
        FLOW,
        settings.report_every,
        tables=settings.delta_root,
        topics=[*written, *(each.dlq for each in topics)],
    )
    dead_letters.watch(
        settings,
        [Refused(t.name, t.quarantine, codes_of(t.contract, t.codes)) for t in topics],
    )
    return build(parts, valid and WatchedSink(valid), WatchedSink(letters))


def _forward(
    settings: FlowSettings,
    topics: Sequence[Enforced],
    partitions: Mapping[str, Sequence[int]],
    identities: Mapping[str, str],
    group: str,
) -> KafkaForward | None:
    """Return the sink of what is good, None where no topic has any of it.

    `partitions` are all those of the topics. Raises OutputTopicError for a topic with fewer
    partitions than the one that it is made of.
    """
    timeout = settings.start_timeout.total_seconds()
    there: dict[str, list[int]] = {}
    sources = {}
    for each in topics:
        if each.validated is None:
            continue
        count = len(partitions[each.topic])
        found = output_topics.ensure(settings.kafka, each.validated, count, timeout)
        if len(found) < count:
            raise output_topics.OutputTopicError(
                f"topic {each.validated} has {len(found)} partitions, and {each.topic} {count}: "
                "each record goes to the partition that it came from, so add some"
            )
        # Each record goes to the partition that it came from.
        there |= settings.share.of({each.validated: partitions[each.topic]})
        sources[each.validated] = each.topic, identities[each.topic]
    return KafkaForward(settings.kafka, there, sources, group) if there else None


def _allow_files(settings: FlowSettings, partitions: Mapping[str, Sequence[int]]) -> None:
    """Raise FileLimitError if the process may not open what all the sources together take."""
    brokers = kafka.count_brokers(settings.kafka, settings.start_timeout.total_seconds())
    readers = sum(min(READERS, len(each)) for each in partitions.values())
    file_limit.ensure(
        file_limit.needed(2 * len(partitions) + told().workers * readers, brokers)
    )


def tables_of(settings: PrivacySettings, topic: Enforced) -> list[Table]:
    """Return a topic's tables, which tell what their rows have of personal data."""
    return telling(settings, topic.all_tables, {topic.silver.name: [topic]})


def _account(tables: DeltaSink) -> bool:
    """Tell whether any of the tables accounts for a record."""
    return any(each.offsets for each in tables.frontiers())


def _parts(
    loaded: EnforceLoaded,
    topic: Enforced,
    partitions: Mapping[str, Sequence[int]],
    identities: Mapping[str, str],
    lookup: Lookup,
) -> Parts:
    settings, own, name = loaded.settings, loaded.of(topic), topic.topic
    mine, same = {name: partitions[name]}, {name: identities[name]}
    guard, whole = guard_of(settings, topic), tables_of(settings, topic)
    tables = sink_of(FLOW, settings, mine, same, whole, [topic], timed=False)
    breaker = breaker_of(FLOW, settings, topic, own)
    source = open_source(
        settings,
        own,
        partitions[name],
        tables,
        group=loaded.own.consumer_group,
        hurried=True,
        breaker=breaker,
    )
    # Data quality is counted from where the others have come to when its table is made.
    define(settings, tables, whole, name, partial(_account, tables))
    for each in whole:
        # Made by one process, before others look for them.
        table_id(settings, each)
    expect(name, topic.contract, topic.codes)
    check = partial(topic.contract.check, future_bound_us=micros(own.future_bound))
    decoder, sink = topic.decoder(lookup), WatchedSink(tables)
    apart = None
    if topic.tells_apart:
        past = SilverPast(settings.delta_root, topic.silver, tables.fence, name, topic.told_by)
        apart = Identities(topic.told_by, past)
    checks = guarded(check, guard)
    return Parts(topic, source, decoder, checks, breaker, sink, guard, apart)

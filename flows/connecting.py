"""Connecting: the real ends of a flow, and what its steps work with, by its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from redis import Redis

from flows import dead_letters, pipeline, watchdog
from flows.control import evaluated, follow
from flows.decisions import deciding
from flows.decoding import contract_of, decoder_of
from flows.definitions import (
    as_today,
    definitions,
    refuse_or_set_aside,
    refuse_two_kinds_of_rows,
)
from flows.label_ends import connect_labels, label_tables, labels_of
from flows.loading import Loaded as Loaded
from flows.loading import load as load
from flows.loading import rules_of as rules_of
from flows.outputs import open_outputs
from flows.own_tables import OwnTables, breaker_of, sink_of
from flows.pipeline import Parts
from flows.privacy import guard_of, guarded, refuse_mixed, telling
from flows.refused_run import refused_in_topic
from flows.registry import open_registry
from flows.reporting import expect, report, say
from flows.settings import Settings
from flows.sources import abreast, open_source
from flows.starting import (
    changed_definitions,
    define,
    prepare_recovery,
    set_aside,
    start,
    table_id,
    told_by,
    told_of,
)
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from flows.tables import bounds, defined, rules_since
from flows.writing import written
from operators.avro import Lookup
from operators.columns.durations import micros
from operators.connectors.delta.committed_ids import CommittedIds
from operators.connectors.delta.definitions import History as Told
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka import topic_ids
from operators.connectors.kafka.pause_source import PauseSource
from operators.connectors.kafka.sink import KafkaSink
from operators.connectors.redis import client as redis
from operators.connectors.redis.dedup_ids import History
from operators.connectors.redis.dedup_store import RedisDedupStore, memory_of
from operators.connectors.shutdown import SHUTDOWN
from operators.connectors.watched import WatchedSink
from operators.contracts import load_contract
from operators.records.breaker import Breaker
from operators.records.tables import Table
from operators.rules.rules import RuleSet


def run(stream: Stream) -> Dataflow:
    """Return a stream's own flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis,
    the registry or the tables' storage are not there in time.
    """
    return start(stream.name, partial(load, stream), _connect)


@dataclass(frozen=True)
class Ends:
    """What the flow `name` is connected with before its streams are.

    `topics` are the partitions that it reads, by topic, `counts` how many there are, `identities`
    which topics those are, and `group` the consumer group.
    """

    name: str
    settings: Settings
    group: str
    topics: dict[str, list[int]]
    counts: dict[str, int]
    identities: dict[str, str]
    redis: Redis | None
    lookup: Lookup
    anew: bool
    """Whether the recovery store was set aside."""
    breakers: dict[str, Breaker] = field(default_factory=dict)
    """By stream, what its source and its decoding share."""

    @classmethod
    def of(
        cls,
        name: str,
        settings: Settings,
        group: str,
        streams: Sequence[Stream],
        *,
        own: Stream | None = None,
        tables: Sequence[Table] = (),
        grouped: bool = True,
        lookups: str | None = None,
    ) -> "Ends":
        """Wait for what the flow needs, and make, refuse or set aside its recovery store.

        `tables` are those that the flow writes, `own` is the stream whose they are if they can
        make its state anew, `grouped` says that some of that is kept by key group, and `lookups`
        are what it looks up.
        """
        watchdog.start(settings.stall_timeout)
        timeout = settings.start_timeout.total_seconds()
        names = [settings.of(each).topic for each in streams]
        every = {t: kafka.wait_for_partitions(settings.kafka, t, timeout) for t in names}
        share, counts = settings.share, {topic: len(found) for topic, found in every.items()}
        topics = share.of(every)
        identities = topic_ids.identify(settings.kafka, names, timeout)
        refuse_two_kinds_of_rows(settings.delta_root, tables)
        refuse_mixed(settings.delta_root, tables)
        now = definitions(settings, *streams, own=own, grouped=grouped, lookups=lookups)
        before = changed_definitions(name, identities, now, partial(as_today, now=now), share)
        line = None
        if before:
            mine = [settings.of(own).topic] if own else names
            kept = {t: topics[t] for t in mine}, {t: identities[t] for t in mine}
            sink = sink_of(name, settings, *kept, own.all_tables if own else [])
            own_tables = OwnTables(settings, own, sink)
            line = refuse_or_set_aside(name, before, now, own_tables, set_aside)
        if aside := line is not None:
            say(line)
        prepare_recovery(name, identities, now, slice_=share)
        client = None
        if not all(each.changes for each in streams):
            client = redis.connect(settings.redis_url.get_secret_value(), timeout)
        lookup = open_registry(settings)
        return cls(name, settings, group, topics, counts, identities, client, lookup, aside)

    def tables(self, tables: Sequence[Table], *streams: Stream) -> DeltaSink:
        """Return the sink of tables of the flow, of all that it reads or of these streams."""
        topics = [self.settings.of(each).topic for each in streams] or [*self.topics]
        found = {topic: self.topics[topic] for topic in topics}
        same = {topic: self.identities[topic] for topic in topics}
        return sink_of(self.name, self.settings, found, same, tables, streams)

    def identity_of(self, stream: Stream) -> dict[str, str]:
        """Return which topic a stream's is."""
        topic = self.settings.of(stream).topic
        return {topic: self.identities[topic]}

    def outputs(
        self, own: StreamSettings, topics: Sequence[str], *, tables: bool = True
    ) -> KafkaSink:
        """Return the sink of topics, made with as many partitions as a stream's if need be.

        In a flow without `tables` it looks before an epoch ends whether topics were made anew.
        """
        made, same = dict.fromkeys(topics, self.counts[own.topic]), self.identities
        mine = self.settings.share.shared(self.topics, own.control_topic)
        common = self.settings, made, self.group, same, mine
        if tables:
            return open_outputs(*common)
        return open_outputs(*common, topic_ids.Unchanged(self.settings.kafka, same))

    def source(self, stream: Stream, tables: DeltaSink | None, *, hurried: bool) -> Source[Any]:
        """Return the source of a stream; one whose tables are its flow's own has its past too."""
        own = abreast(self.settings.of(stream), stream)
        return open_source(
            self.settings,
            own,
            self.topics[own.topic],
            tables,
            stream
            if tables is not None and stream.alone and self.name == stream.name
            else None,
            group=self.group,
            hurried=hurried,
            breaker=self.breaker(stream),
            anew=self.anew,
            backfills=self.settings.backfill_from is not None,
        )

    def breaker(self, stream: Stream) -> Breaker:
        """Return what pauses a stream's partitions of which most is refused."""
        if stream.name not in self.breakers:
            own = self.settings.of(stream)
            common = self.settings, stream, own
            in_topic = partial(refused_in_topic, *common, self.lookup, self.group)
            self.breakers[stream.name] = breaker_of(self.name, *common, in_topic)
        return self.breakers[stream.name]

    def define(
        self,
        sink: DeltaSink,
        tables: Sequence[Table],
        silver: Table,
        topic: str | None = None,
        own: Stream | None = None,
    ) -> Told:
        """Have the flow's tables tell what their next rows are made by; return what silver does.

        Sources look first which tables are there: to be called when they are made. `topic` is one
        that the tables are of, `own` is as of `of`.
        """
        # Silver last: who waits for it finds what the others tell.
        order = sorted(tables, key=lambda each: each.name == silver.name)
        warms = OwnTables(self.settings, own, sink).can_warm
        define(self.settings, sink, order, topic or next(iter(self.topics)), warms)
        (silver,) = (each for each in tables if each.name == silver.name)
        return told_of(self.settings, silver)

    def parts(
        self,
        stream: Stream,
        rules: RuleSet | None,
        memory: str,
        history: History | None,
        told: Told | None = None,
        since: Mapping[str, Mapping[int, int]] | None = None,
        *,
        keeps: bool = True,
    ) -> Parts:
        """Return what a stream's steps work with; `memory` is what Redis calls its ids.

        `told` is what a table of the flow's tells of its rows, `since` is as of `Parts`, `keeps` as
        of `follow`.
        """
        own, share = self.settings.of(stream), self.settings.share
        guard = guard_of(self.settings, stream)
        expect(own.topic, load_contract(stream.record))
        changes = follow(self.settings, stream, rules, keeps=keeps)
        seen = None
        if stream.changes is None and self.redis is not None:
            ttl = own.dedup_ttl.total_seconds()
            seen = RedisDedupStore(self.redis, memory, ttl, history)
        return Parts(
            decoder_of(stream, self.lookup),
            guarded(contract_of(stream, micros(own.future_bound)), guard),
            seen,
            evaluated(self.settings, stream, rules, changes),
            bounds(told, own.topic, micros(own.out_of_orderness)),
            since or {},
            None if changes is None else changes.reader,
            self.breaker(stream),
            # Each slice hears of them all, and one of them is to tell.
            pauses=PauseSource(
                changes.reader, stop_at_end=self.settings.stop_at_end, shutdown=SHUTDOWN
            )
            if changes and not share.number
            else None,
            guard=guard,
        )

    def history(self, stream: Stream, tables: DeltaSink) -> CommittedIds:
        """Return what silver has of a stream's ids, to fill a Redis again that has lost them."""
        root, topic = self.settings.delta_root, self.settings.of(stream).topic
        return CommittedIds(root, stream.silver.name, tables.fence, topic, stream.id)


def _connect(loaded: Loaded) -> Dataflow:
    settings, ((stream, rules),) = loaded
    own = settings.of(stream)
    tables = telling(settings, defined(stream, own, rules), {stream.silver.name: [stream]})
    labels, of_labels = labels_of(stream), label_tables(stream, settings)
    every, reads = [*tables, *of_labels], [stream, *labels]
    group = own.consumer_group + ("-backfill" if settings.backfill_from else "")
    ends = Ends.of(stream.name, settings, group, reads, own=stream, tables=every)
    names = pipeline.named(pipeline.topics(stream, settings))
    if not settings.backfill_from:
        names += [settings.of(each).dlq_topic for each in labels]
    topic_sink = ends.outputs(own, names)
    mine = written(tables, stream, settings)
    table_sink = ends.tables(mine, stream)
    source = ends.source(stream, table_sink, hurried=len(names) > 1)
    owner = table_id(settings, stream.silver)
    memory = memory_of(stream.name, own.topic, ends.identity_of(stream), owner)
    told = ends.define(table_sink, mine, stream.silver, own=stream)
    since = None
    if stream.rules:
        (alerts,) = (each for each in tables if each.name == stream.alerts.name)
        since = rules_since(told_by(settings, alerts), own.topic)
    parts = ends.parts(stream, rules, memory, ends.history(stream, table_sink), told, since)
    parts = deciding(parts, stream, settings, tables)
    report(
        stream.name,
        settings.report_every,
        tables=settings.delta_root,
        topics=names,
        rules=len(rules.rules) if rules else None,
    )
    dead_letters.watch_streams(settings, reads)
    sink = WatchedSink(table_sink)
    labelled = connect_labels(ends, stream, of_labels)
    return pipeline.build(stream, source, sink, topic_sink, parts, settings, labelled)

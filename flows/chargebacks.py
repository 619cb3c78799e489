"""Chargebacks: two Kafka topics to a table of what became of each payment, and dead letters.

Run it with ``python -m bytewax.run flows.chargebacks -r chargebacks-state``.
"""

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

from flows.connecting import Ends, Loaded, load
from flows.dead_letters import watch_streams
from flows.messages import label_messages, reject_messages
from flows.own_tables import sink_of
from flows.pipeline import Parts, kept, read, write_tables
from flows.privacy import telling
from flows.reporting import report
from flows.settings import Settings
from flows.starting import start, table_id
from flows.streams import CHARGEBACKS, LABELS, PAYMENTS, Stream
from flows.streams.chargebacks import LATE, ChargebackSettings, outcome_join, outcomes_table
from flows.streams.labels.making import frauds, genuine, undisputed_join
from flows.tables import LATENESS, WITHIN, out_of_orderness
from flows.writing import watched
from operators.columns.durations import micros
from operators.columns.frames import filtered
from operators.connectors.redis.dedup_store import memory_of
from operators.connectors.watched import WatchedSink
from operators.joins import IntervalJoin
from operators.records.batches import Batch
from operators.records.tables import Table
from operators.steps.joins import interval_join
from operators.steps.settled import settled


def outcomes_of(settings: Settings) -> IntervalJoin:
    """Return the join of payments with their chargebacks, by the settings."""
    own = settings.of(CHARGEBACKS)
    assert isinstance(own, ChargebackSettings)  # noqa: S101 # as it is declared
    within, lateness = micros(own.within), micros(settings.allowed_lateness)
    return outcome_join(settings.topic, own.topic, within, lateness)


Input = tuple[Source[Any], Parts]
"""What of one of the two topics the steps read and work with."""


def build(
    payments: Input,
    chargebacks: Input,
    partitions: Mapping[str, int],
    table_sink: Sink[Any],
    topic_sink: Sink[Any],
    settings: Settings,
) -> Dataflow:
    """Return the topology; `partitions` are each topic's number of them.

    `table_sink` takes (table name, rows or progress) items, `topic_sink` (topic, messages or
    progress). Payments that are refused or repeated go nowhere here: the payments flow keeps them.
    """
    flow, own = Dataflow("chargebacks"), settings.of(CHARGEBACKS)
    groups = settings.key_groups
    # Labels are made here: who reads them waits for this flow, which must not wait for them.
    paid = read(
        flow, payments[0], PAYMENTS.unlabelled, payments[1], settings, groups, "payments_"
    )
    charged = read(
        flow, chargebacks[0], CHARGEBACKS, chargebacks[1], own, groups, "chargebacks_"
    )
    join = outcomes_of(settings)
    joined = interval_join(
        "outcomes", paid.good, charged.good, join, partitions, settings.key_groups
    )
    guard = chargebacks[1].guard
    rows: dict[str, Flowing[Any]] = {}
    rows |= kept(charged, CHARGEBACKS, guard)
    rows |= watched(charged, CHARGEBACKS, rows)
    rows |= {LATE.name: joined.late, outcomes_table(join).name: joined.rows}
    write_tables(rows, op.merge("progress", paid.good, charged.good), table_sink)
    if not sent_to(settings):
        return flow

    dlq, labels = own.dlq_topic, settings.of(LABELS).topic
    letters = op.map(
        "dlq_messages", charged.rejects, lambda rows: (dlq, reject_messages(rows, guard))
    )
    reached = op.map("dlq_progress", charged.good, lambda batch: (dlq, batch.progress))
    made = _labels(paid.good, charged.good, joined.rows, partitions, settings)
    told = op.map("labels_messages", made, lambda rows: (labels, label_messages(rows)))
    marks = settled("labels_settled", op.merge("both", paid.good, charged.good), partitions)
    passed = op.map("labels_progress", marks, lambda mark: (labels, mark))
    op.output("topics", op.merge("topics_items", reached, passed, letters, told), topic_sink)
    return flow


def sent_to(settings: Settings) -> list[str]:
    """Return the topics that the flow sends to, none where it makes its tables anew."""
    if settings.backfill_from:
        return []
    return [settings.of(CHARGEBACKS).dlq_topic, settings.of(LABELS).topic]


def _labels(
    paid: Flowing[Batch],
    charged: Flowing[Batch],
    outcomes: Flowing[pl.DataFrame],
    partitions: Mapping[str, int],
    settings: Settings,
) -> Flowing[pl.DataFrame]:
    """Return what payments turn out to be: frauds as they are charged back, or genuine."""
    own = settings.of(CHARGEBACKS)
    assert isinstance(own, ChargebackSettings)  # noqa: S101 # as it is declared
    after = micros(own.genuine_after)
    join = undisputed_join(settings.topic, own.topic, after, micros(settings.allowed_lateness))
    of_fraud = op.map("charged_for_fraud", charged, _of_fraud)
    groups = settings.key_groups
    undisputed = interval_join("undisputed", paid, of_fraud, join, partitions, groups)
    some = op.merge(
        "labels",
        op.map("labels_of_frauds", outcomes, frauds),
        op.map("labels_of_genuine", undisputed.rows, lambda rows: genuine(rows, after)),
    )
    return op.filter("labels_some", some, lambda rows: rows.height > 0)


def _of_fraud(batch: Batch) -> Batch:
    if not batch.frame.height:
        return batch
    return Batch(batch.progress, filtered(batch.frame, batch.frame["fraud"]))


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis,
    the registry or the tables' storage are not there in time.
    """
    return start("chargebacks", partial(load, PAYMENTS, CHARGEBACKS), _connect)


def defined_tables(settings: Settings) -> list[Table]:
    """Return the flow's tables with what their rows are made by.

    Those of the join are of one time to wait for a chargeback, and of one lateness.
    """
    join = outcomes_of(settings)
    fixed = {LATENESS: str(join.lateness), WITHIN: str(join.upper)}
    silver = {
        out_of_orderness(settings.of(each).topic): str(
            micros(settings.of(each).out_of_orderness)
        )
        for each in (PAYMENTS, CHARGEBACKS)
    }
    found = [
        replace(each, definitions=silver) if each.name == CHARGEBACKS.silver.name else each
        for each in CHARGEBACKS.all_tables
    ]
    outcomes = outcomes_table(join)
    found += [replace(each, fixed=fixed) for each in (LATE, outcomes)]
    both = (PAYMENTS, CHARGEBACKS)
    of = {CHARGEBACKS.silver.name: [CHARGEBACKS], LATE.name: both, outcomes.name: both}
    return telling(settings, found, of)


def _connect(loaded: Loaded) -> Dataflow:
    settings, _ = loaded
    own, group = settings.of(CHARGEBACKS), f"{settings.consumer_group}-outcomes"
    group += "-backfill" if settings.backfill_from else ""
    tables = defined_tables(settings)
    payments = PAYMENTS.unlabelled
    ends = Ends.of("chargebacks", settings, group, [payments, CHARGEBACKS], tables=tables)
    sink = sink_of(ends.name, settings, ends.topics, ends.identities, tables, [CHARGEBACKS])
    owner = table_id(settings, CHARGEBACKS.silver)
    # Ids of this flow's own: what the payments flow has seen says nothing about it. No table of
    # this flow has every payment, so a Redis that is lost forgets which came before.
    histories = {PAYMENTS.name: None, CHARGEBACKS.name: ends.history(CHARGEBACKS, sink)}

    sources = {s.name: ends.source(s, sink, hurried=False) for s in (payments, CHARGEBACKS)}
    told = ends.define(sink, tables, CHARGEBACKS.silver)

    def connected(stream: Stream) -> Input:
        memory = memory_of("outcomes", settings.of(stream).topic, ends.identities, owner)
        parts = ends.parts(stream, None, memory, histories[stream.name], told)
        return sources[stream.name], parts

    topics = sent_to(settings)
    letters = ends.outputs(own, topics)
    report("chargebacks", settings.report_every, tables=settings.delta_root, topics=topics)
    watch_streams(settings, [CHARGEBACKS])
    partitions = {topic: len(found) for topic, found in ends.topics.items()}
    both = connected(payments), connected(CHARGEBACKS)
    return build(*both, partitions, WatchedSink(sink), letters, settings)

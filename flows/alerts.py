"""Alerts: the topic of payments to alerts and decisions alone, in milliseconds.

Run it with ``python -m bytewax.run flows.alerts -r state-alerts``, beside a payments flow with
``MILLSTREAM_SEND_ALERTS=false``, which writes the tables.

In an epoch's end the payments flow stands still until all its tables have it. This one has no
tables: what its epochs write is what its cards' payments have changed.
"""

from functools import partial
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.connecting import Ends, Loaded, load
from flows.decisions import deciding
from flows.label_ends import connect_labels, labels_of
from flows.pipeline import LabelledBy, Parts, read, send
from flows.reporting import report
from flows.settings import Settings
from flows.starting import start
from flows.streams import PAYMENTS, Stream
from operators.connectors.redis.dedup_store import memory_of
from operators.connectors.watched import WatchedSink


def build(
    payments: Stream,
    source: Source[Any],
    topic_sink: Sink[Any],
    parts: Parts,
    settings: Settings,
    labelled: LabelledBy | None = None,
) -> Dataflow:
    """Return the topology; `topic_sink` takes (topic, messages or progress) items.

    Payments that are refused or repeated go nowhere here: the payments flow keeps them.
    """
    flow = Dataflow("alerts")
    groups = settings.key_groups
    records = read(flow, source, payments, parts, settings, groups, labelled=labelled)
    send(
        records,
        payments,
        topic_sink,
        parts.guard,
        dlq=None,
        alerts=settings.alerts_topic,
        decisions=settings.decisions_topic,
        pauses=parts.paused(flow),
    )
    return flow


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis or
    the registry are not there in time.
    """
    return start("alerts", partial(load, PAYMENTS, sliced=True), _connect)


def _connect(loaded: Loaded) -> Dataflow:
    settings, ((payments, rules),) = loaded
    group = f"{settings.consumer_group}-alerts"
    ends = Ends.of("alerts", settings, group, [payments, *labels_of(payments)], grouped=False)
    topics = [settings.alerts_topic, settings.decisions_topic]
    sink = ends.outputs(settings, topics, tables=False)
    # Ids of this flow's own, so that it may be ahead of the tables or behind them; and no table
    # to fill a lost Redis from, as silver is always an epoch late.
    both = ends.identity_of(payments) | sink.identities
    memory = memory_of("alerts", settings.topic, both, settings.consumer_group)
    parts = ends.parts(payments, rules, memory, history=None, keeps=False)
    parts = deciding(parts, payments, settings)
    report(
        "alerts",
        settings.report_every,
        tables=None,
        topics=topics,
        rules=len(rules.rules) if rules else None,
    )
    source = ends.source(payments, None, hurried=True)
    labelled = connect_labels(ends, payments, ())
    return build(payments, source, WatchedSink(sink), parts, settings, labelled)

"""Alerts: the topic of payments to alerts alone, in milliseconds.

Run it with ``python -m bytewax.run flows.alerts -r state-alerts``, beside a payments flow with
``MILLSTREAM_SEND_ALERTS=false``, which writes the tables.

In an epoch's end the payments flow stands still until nine tables have it. This one has no
tables: what its epochs write is what its cards' payments have changed.
"""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.messages import alert_messages
from flows.outputs import open_outputs
from flows.reporting import report
from flows.scoring import Parts, connect, load, score
from flows.settings import Settings
from flows.sources import open_source
from flows.starting import prepare_recovery, start
from operators.batches import RawBatch
from operators.connectors import kafka, redis, topic_ids
from operators.connectors.first_seen import RedisFirstSeen, memory_of
from operators.rules import RuleSet


def build(
    source: Source[RawBatch], topic_sink: Sink[Any], parts: Parts, settings: Settings
) -> Dataflow:
    """Return the topology; `topic_sink` takes (topic, messages or progress) items.

    Payments that are refused or repeated go nowhere here: the payments flow keeps them.
    """
    flow = Dataflow("alerts")
    scored = score(op.input("kafka", flow, source), parts, settings)
    topic = settings.alerts_topic
    reached = op.map("topics_progress", scored.payments, lambda batch: (topic, batch.progress))
    alerts = op.map("alert_messages", scored.alerts, lambda rows: (topic, alert_messages(rows)))
    op.output("topics", op.merge("topics_items", reached, alerts), topic_sink)
    return flow


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis or
    the registry are not there in time.
    """
    return start("alerts", load, _connect)


def _connect(loaded: tuple[Settings, RuleSet]) -> Dataflow:
    settings, rules = loaded
    timeout = settings.start_timeout.total_seconds()
    partitions = kafka.wait_for_partitions(settings.kafka, settings.topic, timeout)
    group = f"{settings.consumer_group}-alerts"
    sink = open_outputs(settings, [settings.alerts_topic], len(partitions), group)
    read = topic_ids.identify(settings.kafka, [settings.topic], timeout)
    prepare_recovery("alerts", read)
    client = redis.connect(settings.redis_url.get_secret_value(), timeout)
    source = open_source(
        settings,
        settings.topic,
        partitions,
        None,
        group=group,
        idle_timeout=settings.idle_timeout,
        hurried=True,
    )
    # Ids of this flow's own, so that it may be ahead of the tables or behind them; and no table
    # to fill a lost Redis from, as silver is always an epoch late.
    memory = memory_of(
        "alerts", settings.topic, read | sink.identities, settings.consumer_group
    )
    seen = RedisFirstSeen(client, memory, settings.dedup_ttl.total_seconds(), history=None)
    parts = connect(settings, rules, seen)
    topics = [settings.alerts_topic]
    report("alerts", settings.report_every, tables=None, topics=topics, rules=len(rules.rules))
    return build(source, sink, parts, settings)

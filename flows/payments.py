"""Payments: a Kafka topic of card payments to Delta tables, alerts and a dead-letter topic.

Run it with ``python -m bytewax.run flows.payments -r state``.
"""

from datetime import date
from importlib.metadata import version
from typing import Any, Final

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.messages import alert_messages, reject_messages
from flows.outputs import open_outputs
from flows.reporting import report
from flows.scoring import Parts, connect, load, score
from flows.settings import Settings
from flows.sources import open_source
from flows.starting import prepare_recovery, start, table_id
from flows.tables import (
    ALERTS,
    BRONZE,
    DUPLICATES,
    LATE,
    LATE_TOLD,
    QUARANTINE,
    SILVER,
    SILVER_COLUMNS,
    WINDOWED,
    tables,
    windowed_table,
)  # fmt: skip
from flows.wiring import micros, write_tables
from operators.batches import Batch, RawBatch, merge
from operators.connectors import kafka, redis, topic_ids
from operators.connectors.committed import CommittedIds
from operators.connectors.delta_sink import DeltaSink
from operators.connectors.first_seen import RedisFirstSeen, memory_of
from operators.records import ingested
from operators.rules import RuleSet
from operators.steps.windows import window

_EPOCH: Final = date(1970, 1, 1)


def build(
    source: Source[RawBatch],
    table_sink: Sink[Any],
    topic_sink: Sink[Any],
    parts: Parts,
    settings: Settings,
) -> Dataflow:
    """Return the topology; `table_sink` takes (table name, rows or progress) items,
    `topic_sink` (topic, messages or progress).
    """  # noqa: D205 # one sentence
    lateness = micros(settings.allowed_lateness)
    flow = Dataflow("payments")
    raw = op.input("kafka", flow, source)
    scored = score(raw, parts, settings)
    payments = scored.payments

    # Steps run in the order in which they are made: alerts go out before windows are worked on.
    names = _topics(settings)
    alerts, dlq = settings.alerts_topic, settings.dlq_topic
    messages = {
        dlq: op.map("dlq_messages", scored.rejects, lambda rows: (dlq, reject_messages(rows))),
        alerts: op.map("alert_messages", scored.alerts, lambda r: (alerts, alert_messages(r))),
    }
    reached = op.flat_map(
        "topics_progress", payments, lambda batch: [(name, batch.progress) for name in names]
    )
    sent = op.merge("topics_items", reached, *(messages[name] for name in names))
    op.output("topics", sent, topic_sink)

    windows = {
        name: window(name, payments, windows_of(lateness), settings.key_groups, LATE_TOLD)
        for name, windows_of in WINDOWED.items()
    }
    rows = {
        BRONZE.name: op.flat_map_batch("bronze", raw, _bronze),
        SILVER.name: op.flat_map_batch("silver", payments, _silver),
        DUPLICATES.name: scored.duplicates,
        QUARANTINE.name: scored.rejects,
        ALERTS.name: scored.alerts,
        LATE.name: op.merge("late", *(each.late for each in windows.values())),
        **{windowed_table(name, lateness).name: w.panes for name, w in windows.items()},
    }
    write_tables(rows, payments, table_sink)
    return flow


def _topics(settings: Settings) -> list[str]:
    """Return the topics that the flow sends messages to."""
    others = [settings.alerts_topic] if settings.send_alerts else []
    return [settings.dlq_topic, *others]


def _bronze(raws: list[RawBatch]) -> list[pl.DataFrame]:
    rows = ingested(raws)
    day = rows["kafka_timestamp"].cast(pl.Date).alias("ingest_date")
    # A record without a Kafka timestamp goes to 1970, so that its partition is fixed too.
    return [rows.hstack([day.fill_null(_EPOCH) if day.null_count() else day])]


def _silver(batches: list[Batch]) -> list[pl.DataFrame]:
    rows = merge(batches)[list(SILVER_COLUMNS)]
    return [rows.hstack([rows["event_time"].cast(pl.Date).alias("event_date")])]


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis,
    the registry or the tables' storage are not there in time.
    """
    return start("payments", load, _connect)


def _connect(loaded: tuple[Settings, RuleSet]) -> Dataflow:
    settings, rules = loaded
    timeout = settings.start_timeout.total_seconds()
    partitions = kafka.wait_for_partitions(settings.kafka, settings.topic, timeout)
    topic_sink = open_outputs(
        settings, _topics(settings), len(partitions), settings.consumer_group
    )
    topics = topic_ids.identify(settings.kafka, [settings.topic], timeout)
    prepare_recovery("payments", topics)
    client = redis.connect(settings.redis_url.get_secret_value(), timeout)
    lateness = micros(settings.allowed_lateness)
    table_sink = DeltaSink(
        settings.delta_root,
        tables(lateness),
        flow="payments",
        flow_version=version("millstream"),
        partitions=[(settings.topic, partition) for partition in partitions],
        identities=topics,
        unchanged=topic_ids.Unchanged(settings.kafka, topics),
    )
    source = open_source(
        settings,
        settings.topic,
        partitions,
        table_sink,
        group=settings.consumer_group,
        idle_timeout=settings.idle_timeout,
        hurried=settings.send_alerts,
    )
    seen = RedisFirstSeen(
        client,
        memory_of("payments", settings.topic, topics, table_id(settings, SILVER)),
        settings.dedup_ttl.total_seconds(),
        CommittedIds(settings.delta_root, SILVER.name, table_sink.fence, settings.topic),
    )
    parts = connect(settings, rules, seen)
    report(
        "payments",
        settings.report_every,
        tables=settings.delta_root,
        topics=_topics(settings),
        rules=len(rules.rules),
    )
    return build(source, table_sink, topic_sink, parts, settings)

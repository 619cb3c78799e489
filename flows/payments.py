"""Payments: a Kafka topic of card payments to Delta tables, alerts and a dead-letter topic.

Run it with ``python -m bytewax.run flows.payments -r state``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

import schemas
from flows import settings as settings_
from flows.messages import alert_messages, reject_messages
from flows.settings import Settings
from flows.starting import known_partitions, registry_config, start
from flows.tables import (
    ALERTS,
    BRONZE,
    DUPLICATES,
    LATE,
    QUARANTINE,
    SILVER,
    SILVER_COLUMNS,
    WINDOWED,
    tables,
    windowed_table,
)  # fmt: skip
from flows.wiring import micros, write_tables
from operators.avro import Decoder
from operators.batches import Batch, RawBatch, merge
from operators.connectors import delta, kafka, redis, registry
from operators.connectors.committed import CommittedIds
from operators.connectors.delta_sink import DeltaSink
from operators.connectors.drain import DRAIN
from operators.connectors.first_seen import RedisFirstSeen
from operators.connectors.kafka_sink import KafkaSink
from operators.connectors.kafka_source import KafkaSource
from operators.contracts import check_payments
from operators.records import ingested
from operators.rejects import Breaker
from operators.rules import RuleSet, load_rules
from operators.steps.decode import Contract, decode
from operators.steps.dedup import FirstSeen, dedup
from operators.steps.features import features
from operators.steps.rules import detect
from operators.steps.windows import window

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class Parts:
    """What the steps of the flow work with."""

    decoder: Decoder
    contract: Contract
    seen: FirstSeen
    rules: RuleSet


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
    decoded = decode(
        "decode", raw, parts.decoder, parts.contract, Breaker(settings.max_reject_ratio)
    )
    unique = dedup("dedup", decoded.oks, parts.seen)
    payments = features("features", unique.firsts, micros(settings.out_of_orderness))
    detected = detect("rules", payments, parts.rules)
    rejects = op.merge("rejects", decoded.rejects, detected.rejects)

    # Steps run in the order in which they are made: alerts go out before windows are worked on.
    topics = [settings.alerts_topic, settings.dlq_topic]
    op.output(
        "topics",
        op.merge(
            "topics_items",
            op.flat_map(
                "topics_progress",
                payments,
                lambda batch: [(name, batch.progress) for name in topics],
            ),
            op.map("alert_messages", detected.alerts, lambda r: (topics[0], alert_messages(r))),
            op.map("dlq_messages", rejects, lambda r: (topics[1], reject_messages(r))),
        ),
        topic_sink,
    )

    windows = {
        name: window(name, payments, windows_of(lateness), settings.key_groups)
        for name, windows_of in WINDOWED.items()
    }
    rows = {
        BRONZE.name: op.flat_map_batch("bronze", raw, _bronze),
        SILVER.name: op.flat_map_batch("silver", payments, _silver),
        DUPLICATES.name: unique.duplicates,
        QUARANTINE.name: rejects,
        ALERTS.name: detected.alerts,
        LATE.name: op.merge("late", *(each.late for each in windows.values())),
        **{windowed_table(name, lateness).name: w.panes for name, w in windows.items()},
    }
    write_tables(rows, payments, table_sink)
    return flow


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
    return start(_load, _connect)


def _load() -> tuple[Settings, RuleSet]:
    settings = settings_.load()
    return settings, RuleSet(load_rules(settings.rules), SILVER_COLUMNS)


def _connect(loaded: tuple[Settings, RuleSet]) -> Dataflow:
    settings, rules = loaded
    timeout = settings.start_timeout.total_seconds()
    partitions = kafka.wait_for_partitions(settings.kafka, settings.topic, timeout)
    outputs = {}
    for topic in (settings.alerts_topic, settings.dlq_topic):
        kafka.ensure_topic(settings.kafka, topic, len(partitions))
        outputs[topic] = kafka.wait_for_partitions(settings.kafka, topic, timeout)
    client = redis.connect(settings.redis_url.get_secret_value(), timeout)
    lookup = registry.open_registry(settings.schema_registry, registry_config(settings))
    lateness = micros(settings.allowed_lateness)
    table_sink = DeltaSink(
        settings.delta_root,
        tables(lateness),
        flow="payments",
        flow_version=version("millstream"),
        partitions=[(settings.topic, partition) for partition in partitions],
    )
    known = known_partitions(settings.topic)
    source = KafkaSource(
        settings.kafka,
        settings.topic,
        partitions,
        start=settings.start,
        resumes=bool(known),
        floors=table_sink.floors(settings.topic, set(partitions) - known),
        batch_size=settings.batch_size,
        idle_timeout=settings.idle_timeout.total_seconds(),
        alignment=settings.alignment.total_seconds(),
        stop_at_end=settings.stop_at_end,
        group=settings.consumer_group,
        drain=DRAIN,
    )
    ends = kafka.end_offsets(settings.kafka, settings.topic, partitions, timeout)
    _refuse_shorter_topic(
        CommittedIds(settings.delta_root, BRONZE.name, table_sink.fence), ends
    )
    parts = Parts(
        Decoder(schemas.latest("payment"), lookup),
        partial(check_payments, future_bound_us=micros(settings.future_bound)),
        RedisFirstSeen(
            client,
            settings.topic,
            settings.dedup_ttl.total_seconds(),
            CommittedIds(settings.delta_root, SILVER.name, table_sink.fence),
        ),
        rules,
    )
    return build(source, table_sink, KafkaSink(settings.kafka, outputs), parts, settings)


def _refuse_shorter_topic(bronze: CommittedIds, ends: Mapping[int, int]) -> None:
    """Refuse a topic that ends before what the tables hold: their fences would drop it all."""
    gone = [
        f"partition {partition} ends at {ends[partition]}, but offset {offset} is in bronze"
        for partition, offset in bronze.committed().items()
        if partition in ends and offset >= ends[partition]
    ]
    if gone:
        raise delta.FencedError(
            f"the topic was made anew ({'; '.join(gone)}): its records would be taken for those "
            "that the tables already have. Name another MILLSTREAM_DELTA_ROOT or "
            "MILLSTREAM_TOPIC, or remove the tables, and start with an empty recovery directory"
        )

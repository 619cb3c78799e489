"""Chargebacks: two Kafka topics to a table of what became of each payment, and dead letters.

Run it with ``python -m bytewax.run flows.chargebacks -r chargebacks-state``.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source
from bytewax.outputs import Sink

import schemas
from flows import settings as settings_
from flows.messages import reject_messages
from flows.outcomes import (
    DUPLICATES,
    LATE,
    QUARANTINE,
    SILVER,
    SILVER_COLUMNS,
    outcome_join,
    outcomes_table,
    tables,
)  # fmt: skip
from flows.outputs import open_outputs
from flows.registry import open_registry
from flows.reporting import report
from flows.settings import Settings
from flows.sources import open_source
from flows.starting import (
    prepare_recovery,
    recovery_directory,
    start,
    table_id,
)
from flows.wiring import micros, write_tables
from operators.avro import Decoder
from operators.batches import Batch, RawBatch
from operators.connectors import kafka, redis, topic_ids
from operators.connectors.committed import CommittedIds
from operators.connectors.delta_sink import DeltaSink
from operators.connectors.first_seen import RedisFirstSeen, memory_of
from operators.connectors.seen import History
from operators.contracts import load_contract
from operators.rejects import Breaker
from operators.steps.decode import Contract, decode
from operators.steps.dedup import FirstSeen, dedup
from operators.steps.joins import interval_join
from operators.steps.watermarks import watermarks


@dataclass(frozen=True)
class Input:
    """One of the two topics: where its records come from and what makes them good ones."""

    source: Source[RawBatch]
    decoder: Decoder
    contract: Contract
    seen: FirstSeen
    partitions: int


def build(
    payments: Input,
    chargebacks: Input,
    table_sink: Sink[Any],
    topic_sink: Sink[Any],
    settings: Settings,
) -> Dataflow:
    """Return the topology; `table_sink` takes (table name, rows or progress) items,
    `topic_sink` (topic, messages or progress).

    Payments that are refused or repeated go nowhere here: the payments flow keeps them.
    """  # noqa: D205 # one sentence
    join = outcome_join(
        settings.topic,
        settings.chargebacks_topic,
        micros(settings.chargebacks_within),
        micros(settings.allowed_lateness),
    )
    flow = Dataflow("chargebacks")

    def read(
        name: str, of: Input, id_column: str, bound: timedelta, idle_timeout: timedelta
    ) -> tuple[Stream[Batch], Any, Any]:
        raw = op.input(f"{name}_kafka", flow, of.source)
        breaker = Breaker(settings.max_reject_ratio)
        decoded = decode(f"{name}_decode", raw, of.decoder, of.contract, breaker)
        unique = dedup(f"{name}_dedup", decoded.oks, of.seen, id_column)
        marked = watermarks(
            f"{name}_watermarks", unique.firsts, micros(bound), idle_timeout.total_seconds()
        )
        return marked, decoded.rejects, unique.duplicates

    paid, _, _ = read(
        "payments", payments, "payment_id", settings.out_of_orderness, settings.idle_timeout
    )
    # Chargebacks are few and come late: a partition that is quiet for a minute has only none.
    charged, rejects, duplicates = read(
        "chargebacks",
        chargebacks,
        "chargeback_id",
        settings.chargebacks_out_of_orderness,
        settings.chargebacks_idle_timeout,
    )
    partitions = {
        settings.topic: payments.partitions,
        settings.chargebacks_topic: chargebacks.partitions,
    }
    joined = interval_join("outcomes", paid, charged, join, partitions, settings.key_groups)
    rows = {
        SILVER.name: op.map("silver", charged, _silver),
        DUPLICATES.name: duplicates,
        QUARANTINE.name: rejects,
        LATE.name: joined.late,
        outcomes_table(join).name: joined.rows,
    }
    write_tables(rows, op.merge("progress", paid, charged), table_sink)

    dlq = settings.chargebacks_dlq_topic
    letters = op.map("dlq_messages", rejects, lambda rows: (dlq, reject_messages(rows)))
    reached = op.map("dlq_progress", charged, lambda batch: (dlq, batch.progress))
    op.output("topics", op.merge("topics_items", reached, letters), topic_sink)
    return flow


def _silver(batch: Batch) -> pl.DataFrame:
    date = pl.col("event_time").dt.date().alias("event_date")
    return batch.frame.select(*SILVER_COLUMNS, date)


def flow() -> Dataflow:
    """Return the flow with its settings from the environment and its real ends.

    Ends the process with status 2 for settings that cannot be used and 1 where Kafka, Redis,
    the registry or the tables' storage are not there in time.
    """
    return start("chargebacks", _load, _connect)


def _load() -> Settings:
    settings = settings_.load(recovery=recovery_directory())
    for record in ("payment", "chargeback"):
        load_contract(record)
    return settings


def _connect(settings: Settings) -> Dataflow:
    timeout = settings.start_timeout.total_seconds()
    client = redis.connect(settings.redis_url.get_secret_value(), timeout)
    lookup = open_registry(settings)
    group = f"{settings.consumer_group}-outcomes"
    topics = {
        topic: kafka.wait_for_partitions(settings.kafka, topic, timeout)
        for topic in (settings.topic, settings.chargebacks_topic)
    }
    identities = topic_ids.identify(settings.kafka, topics, timeout)
    prepare_recovery("chargebacks", identities)
    join = outcome_join(
        settings.topic,
        settings.chargebacks_topic,
        micros(settings.chargebacks_within),
        micros(settings.allowed_lateness),
    )
    sink = DeltaSink(
        settings.delta_root,
        tables(join),
        flow="chargebacks",
        flow_version=version("millstream"),
        partitions=[(topic, p) for topic, partitions in topics.items() for p in partitions],
        identities=identities,
        unchanged=topic_ids.Unchanged(settings.kafka, identities),
    )
    own = table_id(settings, SILVER)

    def connect(
        topic: str, record: str, idle_timeout: timedelta, history: History | None
    ) -> Input:
        partitions = topics[topic]
        source = open_source(
            settings,
            topic,
            partitions,
            sink,
            group=group,
            idle_timeout=idle_timeout,
            hurried=False,
        )
        # Ids of this flow's own: what the payments flow has seen says nothing about it.
        ttl = settings.dedup_ttl.total_seconds()
        memory = memory_of("outcomes", topic, identities, own)
        seen = RedisFirstSeen(client, memory, ttl, history)
        check = load_contract(record).check
        contract = partial(check, future_bound_us=micros(settings.future_bound))
        decoder = Decoder(schemas.latest(record), lookup)
        return Input(source, decoder, contract, seen, len(partitions))

    # No table of this flow has every payment, so a Redis that is lost forgets which came before.
    payments = connect(settings.topic, "payment", settings.idle_timeout, history=None)
    # Chargebacks are few and come late: a partition that is quiet for a minute has only none.
    chargebacks = connect(
        settings.chargebacks_topic,
        "chargeback",
        settings.chargebacks_idle_timeout,
        CommittedIds(
            settings.delta_root,
            SILVER.name,
            sink.fence,
            settings.chargebacks_topic,
            "chargeback_id",
        ),
    )
    letters = open_outputs(
        settings,
        [settings.chargebacks_dlq_topic],
        len(topics[settings.chargebacks_topic]),
        group,
    )
    report(
        "chargebacks",
        settings.report_every,
        tables=settings.delta_root,
        topics=[settings.chargebacks_dlq_topic],
    )
    return build(payments, chargebacks, sink, letters, settings)

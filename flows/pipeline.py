"""The pipeline: the topology that a declared stream has, from raw records to tables and topics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as Flowing
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.messages import alert_messages, reject_messages
from flows.settings import Settings
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.avro import Decoder
from operators.columns.frames import filtered
from operators.event_time.watermarks import Bounds
from operators.records.batches import Batch, RawBatch, merge
from operators.records.breaker import Breaker
from operators.records.quarantine import quarantined
from operators.records.raw import ingested
from operators.rules.rules import Rules
from operators.rules.status import live
from operators.steps.by_another import hold
from operators.steps.control import Control, controlled
from operators.steps.decode import Contract, decode
from operators.steps.dedup import DedupStore, dedup
from operators.steps.features import features
from operators.steps.rules import detect
from operators.steps.watermarks import watermarks
from operators.steps.windows import window

ALL_RULES: Final = "*"
"""What stands for all rules where a rule's id may."""

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class Parts:
    """What the steps of a stream work with.

    `bounds` are the topic's out-of-orderness, if that has ever been another than the settings'.
    Of records up to the offsets in `since`, by rule and partition, alerts are there already: those
    of the rule as it was. `control` knows what changes of rules and lists, if that may. `breaker`
    is that of the stream's source.
    """

    decoder: Decoder
    contract: Contract
    seen: DedupStore
    rules: Rules | None
    bounds: Bounds | None = None
    since: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    control: Control | None = None
    breaker: Breaker = field(default_factory=partial(Breaker, 1.0))


@dataclass(frozen=True)
class Records:
    """What `read` makes of a topic: the good records, and frames of the tables' columns.

    `all` are the good ones with those before them that only make state, as tables have them.
    `bronze` are rows of the raw ones, if they had to be held as well.
    """

    raw: Flowing[RawBatch]
    bronze: Flowing[pl.DataFrame] | None
    all: Flowing[Batch]
    good: Flowing[Batch]
    duplicates: Flowing[pl.DataFrame]
    rejects: Flowing[pl.DataFrame]
    alerts: Flowing[pl.DataFrame] | None


def micros(duration: timedelta) -> int:
    """Return a duration in µs."""
    return duration // timedelta(microseconds=1)


def read(
    flow: Dataflow,
    source: Source[Any],
    stream: Stream,
    parts: Parts,
    own: StreamSettings,
    groups: int,
    prefix: str = "",
    *,
    bronze: bool = False,
) -> Records:
    """Read a topic: decode, deduplicate, add features, evaluate the rules.

    The same records give the same in every flow, alerts with the same ids. What a source gives
    as columns are records of the past, which are decoded and told apart already. `prefix` sets
    apart the steps of one flow's streams; `bronze` says that the raw records are wanted too.

    Where features by another key hold records up, all that comes of these is held with them.
    """
    both = op.input(f"{prefix}kafka", flow, source)
    sides = op.branch(f"{prefix}raw", both, lambda item: isinstance(item, RawBatch))
    raw: Flowing[Any] = sides.trues
    past: Flowing[Any] = sides.falses
    decoded = decode(f"{prefix}decode", raw, parts.decoder, parts.contract, parts.breaker)
    unique = dedup(f"{prefix}dedup", decoded.oks, parts.seen, stream.id)
    records = op.merge(f"{prefix}records", unique.firsts, past)
    idle = own.idle_timeout.total_seconds()
    bound = parts.bounds or Bounds(micros(own.out_of_orderness))
    if not stream.features.of_partitions:
        every = watermarks(f"{prefix}watermarks", records, bound, idle)
    else:
        make = partial(stream.features.make, bound)
        every = features(f"{prefix}features", records, make, idle)
    asides = {"rejects": decoded.rejects, "duplicates": unique.duplicates}
    if stream.features.questions:
        if bronze:
            asides["bronze"] = op.flat_map_batch(f"{prefix}bronze", raw, _bronze)
        held = hold(
            prefix, every, stream.features, bound, groups, own.topic, stream.unjudged, asides
        )
        every, asides = held.batches, dict(held.asides)
    good = op.filter(f"{prefix}good", every, lambda batch: not batch.progress.past)
    if parts.control is not None:
        good = controlled(f"{prefix}control", good, parts.control, stream.lists)
    alerts, rejects = None, asides["rejects"]
    if parts.rules is not None:
        detected = detect(f"{prefix}rules", good, parts.rules)
        alerts = op.map(f"{prefix}since", detected.alerts, partial(_behind, parts.since))
        rejects = op.merge(f"{prefix}rejects", rejects, detected.rejects)
    kept = op.map(f"{prefix}quarantined", rejects, partial(quarantined, stream.name))
    held_bronze = asides.get("bronze")
    return Records(raw, held_bronze, every, good, asides["duplicates"], kept, alerts)


def _behind(since: Mapping[str, Mapping[int, int]], alerts: pl.DataFrame) -> pl.DataFrame:
    if not (since and alerts.height):
        return alerts
    places = alerts.select("rule_id", "source_partition").iter_rows()
    every = since.get(ALL_RULES, {})
    last = np.array(
        [max(since.get(rule, {}).get(p, -1), every.get(p, -1)) for rule, p in places]
    )
    new = alerts["source_offset"].to_numpy() > last
    return alerts if new.all() else filtered(alerts, pl.Series(new))


def send(
    records: Records, stream: Stream, sink: Sink[Any], *, dlq: str | None, alerts: str | None
) -> None:
    """Send a stream's rejects, and alerts of what is live, to the topics that are named."""
    messages = []
    if dlq is not None:
        messages.append(
            op.map("dlq_messages", records.rejects, lambda rows: (dlq, reject_messages(rows)))
        )
    if alerts is not None and records.alerts is not None:
        keyed = partial(alert_messages, key=stream.key)
        messages.append(
            op.map("alert_messages", records.alerts, lambda rows: (alerts, keyed(live(rows))))
        )
    names = [name for name in (dlq, alerts) if name is not None]
    reached = op.flat_map(
        "topics_progress",
        records.all,
        lambda batch: [(name, batch.progress) for name in names],
    )
    op.output("topics", op.merge("topics_items", reached, *messages), sink)


def build(
    stream: Stream,
    source: Source[Any],
    table_sink: Sink[Any],
    topic_sink: Sink[Any],
    parts: Parts,
    settings: Settings,
) -> Dataflow:
    """Return the topology of a stream's own flow.

    `table_sink` takes (table name, rows or progress) items, `topic_sink` (topic, messages or
    progress).
    """
    own = settings.of(stream)
    flow = Dataflow(stream.name)
    records = read(flow, source, stream, parts, own, settings.key_groups, bronze=True)
    # Steps run in the order in which they are made: alerts go out before windows are worked on.
    dlq, *others = topics(stream, own)
    send(records, stream, topic_sink, dlq=dlq, alerts=others[0] if others else None)
    windows = {
        name: window(name, records.all, each, settings.key_groups, stream.late_by)
        for name, each in stream.windowed(micros(own.allowed_lateness)).items()
    }
    bronze = records.bronze
    if bronze is None:
        bronze = op.flat_map_batch("bronze", records.raw, _bronze)
    rows = {stream.bronze.name: bronze}
    rows |= kept(records, stream)
    if windows:
        rows[stream.late.name] = op.merge("late", *(each.late for each in windows.values()))
    rows |= {stream.window_table(name).name: each.panes for name, each in windows.items()}
    write_tables(rows, records.all, table_sink)
    return flow


def topics(stream: Stream, own: StreamSettings) -> list[str]:
    """Return the topics that a stream's own flow sends to: dead letters, and alerts if it does."""
    return [own.dlq_topic, *([own.alerts_topic] if stream.rules and own.send_alerts else [])]


def kept(records: Records, stream: Stream) -> dict[str, Flowing[pl.DataFrame]]:
    """Return the rows of the tables that every stream has, by the tables' names."""
    rows = {
        stream.silver.name: op.flat_map_batch("silver", records.good, partial(_silver, stream)),
        stream.duplicates.name: records.duplicates,
        stream.quarantine.name: records.rejects,
    }
    return rows if records.alerts is None else rows | {stream.alerts.name: records.alerts}


def _bronze(raws: list[RawBatch]) -> list[pl.DataFrame]:
    rows = ingested(raws)
    day = rows["kafka_timestamp"].cast(pl.Date).alias("ingest_date")
    # A record without a Kafka timestamp goes to 1970, so that its partition is fixed too.
    return [rows.hstack([day.fill_null(_EPOCH) if day.null_count() else day])]


def _silver(stream: Stream, batches: list[Batch]) -> list[pl.DataFrame]:
    rows = merge(batches)[list(stream.columns)]
    return [rows.hstack([rows["event_time"].cast(pl.Date).alias("event_date")])]


def write_tables(
    rows: Mapping[str, Flowing[pl.DataFrame]], batches: Flowing[Batch], sink: Sink[Any]
) -> None:
    """Write each table's rows, by its name, and tell every table the progress of `batches`."""
    names = list(rows)
    progress = op.flat_map(
        "tables_progress", batches, lambda batch: [(name, batch.progress) for name in names]
    )
    tagged = [
        op.map(f"to_{name.replace('/', '_')}", stream, partial(_tag, name))
        for name, stream in rows.items()
    ]
    op.output("tables", op.merge("tables_rows", progress, *tagged), sink)


def _tag(name: str, rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    return name, rows

"""The pipeline: the topology that a declared stream has, from raw records to tables and topics."""

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

from flows.messages import (
    alert_messages,
    decision_messages,
    pause_messages,
    reject_messages,
)
from flows.parts import LabelledBy as LabelledBy
from flows.parts import Parts as Parts
from flows.parts import Records as Records
from flows.rows import alerts_behind, bronze_rows, change_rows, decisions_behind, silver_rows
from flows.settings import Settings
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from flows.writing import watched, written
from flows.writing import write_tables as write_tables
from operators.columns.durations import micros
from operators.connectors.kafka.pause_source import Paused
from operators.connectors.shutdown import SHUTDOWN
from operators.event_time.watermarks import Bounds
from operators.privacy import Guard
from operators.records.batches import RawBatch
from operators.records.quarantine import quarantined
from operators.rules.status import live
from operators.steps.by_another import Labels, hold
from operators.steps.control import controlled
from operators.steps.decode import decode
from operators.steps.dedup import dedup
from operators.steps.features import features
from operators.steps.model import score
from operators.steps.rules import detect
from operators.steps.watermarks import watermarks
from operators.steps.windows import window


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
    labelled: LabelledBy | None = None,
) -> Records:
    """Read a topic: decode, deduplicate, add features, evaluate the rules.

    The same records give the same in every flow, alerts with the same ids. What a source gives
    as columns are records of the past, which are decoded and told apart already. `prefix` sets
    apart the steps of one flow's streams; `bronze` says that the raw records are wanted too.

    Where features by another key hold records up, all that comes of these is held with them.
    `labelled` is needed where there are features from labels.
    """
    both = op.input(f"{prefix}kafka", flow, source)
    sides = op.branch(f"{prefix}raw", both, lambda item: isinstance(item, RawBatch))
    raw: Flowing[Any] = sides.trues
    past: Flowing[Any] = sides.falses
    decoded = decode(f"{prefix}decode", raw, parts.decoder, parts.contract, parts.breaker)
    asides = {"rejects": decoded.rejects}
    firsts = decoded.oks
    if parts.seen is not None:
        unique = dedup(f"{prefix}dedup", decoded.oks, parts.seen, stream.id)
        firsts, asides["duplicates"] = unique.firsts, unique.duplicates
    records = op.merge(f"{prefix}records", firsts, past)
    idle = own.idle_timeout.total_seconds()
    bound = parts.bounds or Bounds(micros(own.out_of_orderness))
    if not stream.features.of_partitions:
        every = watermarks(f"{prefix}watermarks", records, bound, idle)
    else:
        make = partial(stream.features.make, bound)
        every = features(f"{prefix}features", records, make, idle)
    labels = None
    if stream.features.questions:
        if bronze:
            ingested = partial(bronze_rows, parts.guard)
            asides["bronze"] = op.flat_map_batch(f"{prefix}bronze", raw, ingested)
        of, given = None, None
        if labelled is not None and stream.features.labels is not None:
            of = read(
                flow, labelled.source, labelled.stream, labelled.parts, labelled.own, groups,
                f"{prefix}labels_",
            )  # fmt: skip
            given = Labels(labelled.own.topic, of.all, labelled.known)
        held = hold(
            prefix, every, stream.features, bound, groups, own.topic, stream.featured, asides,
            given, SHUTDOWN.wait,
        )  # fmt: skip
        every, asides = held.batches, dict(held.asides)
        if of is not None and held.labels is not None:
            fresh = op.filter(
                f"{prefix}labels_told", held.labels, lambda b: not b.progress.past
            )
            some = op.filter(f"{prefix}labels_some", fresh, lambda batch: len(batch) > 0)
            labels = replace(of, all=fresh, good=some)
    good = op.filter(f"{prefix}good", every, lambda batch: not batch.progress.past)
    if stream.model is not None:
        good = score(f"{prefix}model", good, stream.model)
    if parts.control is not None:
        good = controlled(f"{prefix}control", good, parts.control, stream.lists)
    alerts, decisions, rejects = None, None, asides["rejects"]
    if parts.rules is not None:
        detected = detect(f"{prefix}rules", good, parts.rules, parts.decider)
        alerts = op.map(f"{prefix}since", detected.alerts, partial(alerts_behind, parts.since))
        if parts.decider is not None:
            behind = partial(decisions_behind, parts.decided)
            decisions = op.map(f"{prefix}decided", detected.decisions, behind)
        rejects = op.merge(f"{prefix}rejects", rejects, detected.rejects)
    kept = op.map(f"{prefix}quarantined", rejects, partial(quarantined, stream.name))
    found = asides.get("bronze"), every, good, asides.get("duplicates"), kept, alerts
    return Records(raw, *found, labels, decisions, decoded.drifts)


def send(
    records: Records,
    stream: Stream,
    sink: Sink[Any],
    guard: Guard,
    *,
    dlq: str | None,
    alerts: str | None,
    decisions: str | None,
    labels_dlq: tuple[str, Guard] | None = None,
    pauses: Flowing[Paused] | None = None,
) -> None:
    """Send a stream's rejects, alerts of what is live, and decisions, to the topics named.

    So are the rejects among its labels, and alerts about rules that have paused themselves; each
    as its guard has it.
    """
    messages: list[Flowing[Any]] = []
    if labels_dlq is not None and records.labels is not None:
        refused, told = records.labels.rejects, records.labels.all
        topic, its = labels_dlq
        messages += [
            op.map(
                "labels_dlq_messages", refused, lambda rows: (topic, reject_messages(rows, its))
            ),
            op.map("labels_dlq_progress", told, lambda batch: (topic, batch.progress)),
        ]
    if dlq is not None:
        messages.append(
            op.map(
                "dlq_messages",
                records.rejects,
                lambda rows: (dlq, reject_messages(rows, guard)),
            )
        )
    if alerts is not None and records.alerts is not None:
        keyed = partial(alert_messages, key=stream.key, guard=guard)
        messages.append(
            op.map("alert_messages", records.alerts, lambda rows: (alerts, keyed(live(rows))))
        )
    if alerts is not None and pauses is not None:
        said = partial(pause_messages, columns=stream.alerts.columns)
        messages += [
            op.map("pause_messages", pauses, lambda item: (alerts, said(*item))),
            op.map("pauses_progress", pauses, lambda item: (alerts, item[0])),
        ]
    if decisions is not None and records.decisions is not None:
        decided = partial(decision_messages, key=stream.key, guard=guard)
        messages.append(
            op.map(
                "decision_messages", records.decisions, lambda rows: (decisions, decided(rows))
            )
        )
    names = [name for name in (dlq, alerts, decisions) if name is not None]
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
    labelled: LabelledBy | None = None,
) -> Dataflow:
    """Return the topology of a stream's own flow.

    `table_sink` takes (table name, rows or progress) items, `topic_sink` (topic, messages or
    progress). `labelled` is as for `read`.
    """
    own = settings.of(stream)
    flow = Dataflow(stream.name)
    alone = settings.backfill_silver_alone
    if alone:
        # They find things in rows, and change none of silver.
        parts = replace(parts, rules=None, decider=None)
    records = read(
        flow,
        source,
        stream,
        parts,
        own,
        settings.key_groups,
        bronze=not alone,
        labelled=labelled,
    )
    # Steps run in the order in which they are made: alerts go out before windows are worked on.
    refused = None
    if labelled is not None and not settings.backfill_from:
        refused = labelled.own.dlq_topic, labelled.parts.guard
    names, guard = topics(stream, settings), parts.guard
    told = parts.paused(flow) if names["alerts"] is not None else None
    send(records, stream, topic_sink, guard, **names, labels_dlq=refused, pauses=told)
    if labelled is not None and labelled.sink is not None and records.labels is not None:
        of: dict[str, Flowing[Any]] = {}
        of |= kept(records.labels, labelled.stream, labelled.parts.guard, "labels_")
        of |= watched(records.labels, labelled.stream, of, "labels_")
        write_tables(of, records.labels.all, labelled.sink, "labels_")
    if alone:
        rows = kept(records, stream, guard)
        some = {
            each.name: rows[each.name] for each in written(stream.all_tables, stream, settings)
        }
        write_tables(some, records.all, table_sink)
        return flow
    windows = {
        name: window(name, records.all, each, settings.key_groups, stream.late_by)
        for name, each in stream.windowed(micros(own.allowed_lateness)).items()
    }
    bronze = records.bronze
    if bronze is None:
        bronze = op.flat_map_batch("bronze", records.raw, partial(bronze_rows, guard))
    rows = {stream.bronze.name: bronze}
    rows |= kept(records, stream, guard)
    if windows:
        rows[stream.late.name] = op.merge("late", *(each.late for each in windows.values()))
    rows |= {stream.window_table(name).name: each.panes for name, each in windows.items()}
    rows |= watched(records, stream, rows)
    write_tables(rows, records.all, table_sink)
    return flow


def topics(stream: Stream, settings: Settings) -> dict[str, str | None]:
    """Return the topics that a stream's own flow sends to, by what; None for what it does not."""
    own = settings.of(stream)
    tells = not settings.backfill_from
    sends = own.send_alerts and tells
    return {
        "dlq": own.dlq_topic if tells else None,
        "alerts": own.alerts_topic if stream.rules and sends else None,
        "decisions": own.decisions_topic if stream.decides and sends else None,
    }


def named(topics: Mapping[str, str | None]) -> list[str]:
    """Return those of some topics that there are."""
    return [each for each in topics.values() if each is not None]


def kept(
    records: Records, stream: Stream, guard: Guard, prefix: str = ""
) -> dict[str, Flowing[pl.DataFrame]]:
    """Return the rows of the tables that every stream has, by the tables' names."""
    silver, refused = f"{prefix}silver", records.rejects
    if guard.seals("quarantine"):
        refused = op.map(f"{prefix}sealed", refused, partial(guard.sealed, "quarantine"))
    rows = {
        stream.silver.name: op.flat_map_batch(
            silver, records.good, partial(silver_rows, stream)
        ),
        stream.quarantine.name: refused,
    }
    if records.duplicates is not None:
        rows[stream.duplicates.name] = records.duplicates
    if stream.changes is not None:
        changes = partial(change_rows, stream)
        rows[stream.merged.name] = op.flat_map_batch(f"{prefix}changes", records.all, changes)
    if records.alerts is not None:
        rows[stream.alerts.name] = records.alerts
    if records.decisions is not None:
        rows[stream.decisions.name] = records.decisions
    return rows

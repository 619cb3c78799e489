"""A sandbox: what a replay would send goes through the flow's own steps, to tables of its own.

No topic, no Redis and no table of a flow is touched. Each record keeps its coordinates and Kafka's
time; features and windows are of these records alone, and all windows close at the end.
"""

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main
from deltalake import DeltaTable

from flows import enforce
from flows import settings as settings_
from flows.decisions import deciding
from flows.decoding import decoder_of
from flows.enforced.loading import FLOW
from flows.enforced.topic import Enforced
from flows.flow_settings import FlowSettings
from flows.loading import rules_of
from flows.own_tables import writers_of
from flows.parts import Parts
from flows.pipeline import build
from flows.privacy import guard_of, guarded
from flows.secret_files import with_settings
from flows.streams import Stream
from flows.tables import defined
from operators.avro import Lookup
from operators.columns.arrays import Int64s
from operators.columns.durations import micros
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.sink import DeltaSink
from operators.records.batches import END_OF_INPUT, Progress, RawBatch
from operators.records.breaker import Breaker
from operators.records.identities import Identities, NoPast
from operators.records.tables import Table
from ops.dlq.judge import raw_batch
from ops.dlq.quarantine import QuarantineError
from ops.dlq.replay import Plan, chosen_records
from ops.dlq.streams import contract_of, future_bound_of

_BATCH: Final = 20_000


class _Seen:
    """The first record of each event, in memory."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], tuple[int, int]] = {}

    def first(
        self, ids: pl.Series, hours: Int64s, partitions: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Return each id's first (partition, offset), its own where it is new."""
        keys = zip(ids.to_list(), hours.tolist(), strict=True)
        places = zip(partitions.tolist(), offsets.tolist(), strict=True)
        found = [self._first.setdefault(k, p) for k, p in zip(keys, places, strict=True)]
        first = np.array(found, np.int64).reshape(-1, 2)
        return first[:, 0], first[:, 1]


class _NowherePart(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Drop what would be sent."""


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _NowherePart:
        return _NowherePart()


def try_out(root: str, sandbox: Path, plan: Plan, lookup: Lookup) -> dict[str, int]:
    """Write what would become of a plan's records to tables under `sandbox`.

    Return how many rows each has. Raises QuarantineError if any of them is there already.
    """
    stream = plan.quarantine.stream
    there = [each.name for each in stream.all_tables if _there(sandbox, each.name)]
    if there:
        raise QuarantineError(f"{sandbox} has {there[0]} already: name an empty folder")
    if isinstance(stream, Enforced):
        tables = _enforced(root, sandbox, plan, stream, lookup)
    else:
        tables = _whole(root, sandbox, plan, lookup)
    return {each.name: _height(sandbox, each.name) for each in tables}


def can_be_tried(stream: Stream) -> bool:
    """Tell whether what becomes of a stream's records is a matter of these alone."""
    return stream.alone or isinstance(stream, Enforced)


def _enforced(
    root: str, sandbox: Path, plan: Plan, topic: Enforced, lookup: Lookup
) -> list[Table]:
    """Let records of a topic through the steps of the enforce flow; return the tables."""
    settings = FlowSettings.model_construct(delta_root=str(sandbox), kafka={})
    partitions, guard = _partitions(plan), guard_of(settings_.privacy_settings(), topic)
    sink = DeltaSink(
        str(sandbox),
        topic.all_tables,
        flow=FLOW,
        flow_version=version("millstream"),
        partitions=[(topic.topic, partition) for partition in range(partitions)],
        writers=writers_of(settings, [topic]),
        timed=False,
    )
    parts = enforce.Parts(
        topic,
        TestingSource(_batches(root, plan, topic.topic, partitions)),
        topic.decoder(lookup),
        guarded(contract_of(topic, micros(future_bound_of(topic))), guard),
        Breaker(1.0),
        sink,
        guard,
        Identities(topic.told_by, NoPast()) if topic.tells_apart else None,
    )
    run_main(enforce.build([parts], _Nowhere(), _Nowhere()))
    return topic.all_tables


def _partitions(plan: Plan) -> int:
    return int(plan.chosen["source_partition"].to_numpy().max(initial=0)) + 1


def _whole(root: str, sandbox: Path, plan: Plan, lookup: Lookup) -> list[Table]:
    """Let records of a stream through the steps of its flow; return the tables."""
    environ = {
        f"{settings_.PREFIX}KAFKA_BOOTSTRAP_SERVERS": "localhost",
        **with_settings(os.environ, {f"{settings_.PREFIX}REDIS_URL": "redis://localhost"}),
        f"{settings_.PREFIX}DELTA_ROOT": str(sandbox),
    }
    settings = settings_.load(environ)
    stream = settings.stream(plan.quarantine.stream).unlabelled
    own = settings.of(stream)
    rules = rules_of(stream, settings)
    guard = guard_of(settings, stream)
    contract = guarded(contract_of(stream, micros(own.future_bound)), guard)
    seen = None if stream.changes else _Seen()
    parts = Parts(decoder_of(stream, lookup), contract, seen, rules, guard=guard)
    parts = deciding(parts, stream, settings)
    partitions = _partitions(plan)
    tables = defined(stream, own, rules)
    sink = DeltaSink(
        str(sandbox),
        tables,
        flow=stream.name,
        flow_version=version("millstream"),
        partitions=[(own.topic, partition) for partition in range(partitions)],
        writers=writers_of(settings, [stream]),
    )
    source = TestingSource(_batches(root, plan, own.topic, partitions))
    run_main(build(stream, source, sink, _Nowhere(), parts, settings))
    return tables


def _batches(root: str, plan: Plan, topic: str, partitions: int) -> Iterator[RawBatch]:
    last = dict.fromkeys(range(partitions), -1)
    for rows in chosen_records(root, plan):
        for each in rows.iter_slices(_BATCH):
            batch = raw_batch(each, partitions)
            last[batch.progress.partition] = batch.progress.offset
            yield batch
    for partition, offset in last.items():
        progress = Progress(topic, partition, partitions, offset)
        yield RawBatch(progress.at(END_OF_INPUT))


def _there(root: Path, name: str) -> bool:
    return DeltaTable.is_deltatable(table_uri(str(root), name))


def _height(root: Path, name: str) -> int:
    return int(
        query(DeltaTable(table_uri(str(root), name)), "SELECT count(*) FROM rows").item()
    )

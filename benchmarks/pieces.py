"""The pieces of the payments flow, each alone on the same records: CPU seconds of each.

A process of its own, set up as a worker is, runs them without Bytewax: a topic is consumed and
let go, then its records, as they were produced, are taken through the other pieces in the
batches that a flow has when it is behind, which has a stopwatch between each and the next.
``python -m benchmarks roofline`` runs it.
"""

import json
import pickle
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

import schemas
from benchmarks.topics import PARTITIONS
from benchmarks.windows import Groups, Partition
from flows import settings as settings_
from flows.connecting import rules_of
from flows.registry import open_registry
from flows.rows import bronze_rows, silver_rows
from flows.settings import Settings
from flows.streams import PAYMENTS
from operators.avro import Decoder
from operators.columns.durations import micros
from operators.connectors import memory
from operators.connectors.delta.committed_ids import CommittedIds
from operators.connectors.delta.counting import counting
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.kafka.source import KafkaSource
from operators.connectors.redis import client as redis
from operators.connectors.redis.dedup_store import RedisDedupStore
from operators.connectors.shutdown import Shutdown
from operators.contracts import load_contract
from operators.privacy import UNGUARDED
from operators.records.batches import END_OF_INPUT, Batch, Progress, RawBatch, merge
from operators.records.stretches import Kind, Part
from operators.steps.decode import decode_batches
from operators.steps.dedup import dedup_batches
from operators.windows import as_times
from ops.simulate.encode import SCHEMA_HEADER

CONSUME: Final = "consume"
DECODE: Final = "decode, contract"
DEDUP: Final = "dedup"
FEATURES: Final = "features"
RULES: Final = "rules"
BRONZE: Final = "bronze: Parquet, commit"
SILVER: Final = "silver: Parquet, commit"
QUALITY: Final = "data quality"
OTHERS: Final = "other tables: Parquet, commit"
SNAPSHOTS: Final = "snapshots"
PIECES: Final = (
    CONSUME, DECODE, DEDUP, FEATURES, RULES, *PAYMENTS.windows, BRONZE, SILVER, QUALITY, OTHERS,
    SNAPSHOTS,
)  # fmt: skip

_ACTIVATION_S: Final = 0.1


class _AtOnce(Executor):
    """Does what it is given before it returns, so that a piece's time is all its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it; return what it came to."""
        done = Future[Any]()
        done.set_result(fn(*args, **kwargs))
        return done


class Stopwatch:
    """CPU seconds by piece, of all threads of this process."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, piece: str) -> Iterator[None]:
        """Count what a block takes."""
        began = time.process_time()
        yield
        self.spent[piece] += time.process_time() - began


def consume(settings: Settings, events: int) -> None:
    """Read a topic of so many records through, as a flow does whose other steps take a while."""
    source = KafkaSource(
        settings.kafka, settings.topic, range(PARTITIONS),
        batch_size=settings.batch_size, group="pieces", shutdown=Shutdown(),
    )  # fmt: skip
    parts = [source.build_part("consume", name, None) for name in source.list_parts()]
    read = 0
    while read < events:
        read += sum(len(batch) for part in parts for batch in part.next_batch())
        time.sleep(_ACTIVATION_S)
    for part in parts:
        part.close()


def activations(path: Path, topic: str, size: int) -> Iterator[list[RawBatch]]:
    """Yield the records of a file as a source has them that is behind: `size` per partition."""
    records = pl.read_ipc(path)
    ends, now = [0] * PARTITIONS, time.time_ns() // 1_000_000
    for start in range(0, records.height, size * PARTITIONS):
        some = records.slice(start, size * PARTITIONS)
        batches = []
        for partition in range(PARTITIONS):
            mine = some.filter(pl.col("partition") == partition)
            first, ends[partition] = ends[partition], ends[partition] + mine.height
            batches.append(
                RawBatch(
                    Progress(topic, partition, PARTITIONS, ends[partition] - 1),
                    np.arange(first, ends[partition]),
                    np.full(mine.height, now),
                    mine["key"].to_list(),
                    mine["value"].to_list(),
                    [each and [(SCHEMA_HEADER, each)] for each in mine["header"].to_list()],
                )
            )
        yield batches


class Worker:
    """Every step of the payments flow behind its source, one after the other."""

    def __init__(self, settings: Settings, watch: Stopwatch) -> None:
        self._watch = watch
        stream = self._stream = settings.stream(PAYMENTS)
        self._rules = rules_of(stream, settings)
        assert self._rules is not None
        versions = [schemas.load(stream.record, n) for n in schemas.versions(stream.record)]
        self._decoder = Decoder(versions[-1], open_registry(settings), versions)
        self._contract = partial(
            load_contract(stream.record).check, future_bound_us=micros(settings.future_bound)
        )
        bound = micros(settings.out_of_orderness)
        self._features = [
            Partition(partial(stream.features.make, bound)) for _ in range(PARTITIONS)
        ]
        self._windows = {
            name: Groups(each, name, stream.late_by)
            for name, each in stream.windowed(micros(settings.allowed_lateness)).items()
        }
        topic, root = settings.topic, settings.delta_root
        places = [(topic, partition) for partition in range(PARTITIONS)]
        # Each with a sink of its own, whose commit is not one of all at once.
        sinks = {
            table.name: DeltaSink(
                root,
                [table],
                flow="pieces",
                flow_version="",
                partitions=places,
                writers=counting(root, stream.ledger, stream.data_quality, topic),
            )
            for table in stream.all_tables
        }
        for sink in sinks.values():
            sink.encoding = sink.committing = _AtOnce()
        self._writers: dict[str, Any] = {
            name: sink.build_part("tables", name, None) for name, sink in sinks.items()
        }
        silver = stream.silver.name
        timeout = settings.start_timeout.total_seconds()
        self._seen = RedisDedupStore(
            redis.connect(settings.redis_url.get_secret_value(), timeout),
            "pieces",
            settings.dedup_ttl.total_seconds(),
            CommittedIds(root, silver, sinks[silver].fence, topic, stream.id),
        )
        quality = stream.data_quality.name
        self._pieces = {stream.bronze.name: BRONZE, silver: SILVER, quality: QUALITY}

    def take(self, raws: list[RawBatch]) -> None:
        """Take what one activation brings."""
        watch, stream, rows = self._watch, self._stream, _Rows()
        with watch.of(DECODE):
            decoded = decode_batches(raws, self._decoder, self._contract)
        rows.add(stream.quarantine.name, _frames(decoded))
        with watch.of(DEDUP):
            firsts = dedup_batches(_batches(decoded), self._seen, stream.id)
        rows.add(stream.duplicates.name, _frames(firsts))
        with watch.of(FEATURES):
            good = [
                each.feed([batch])
                for each, batch in zip(self._features, _batches(firsts), strict=True)
            ]
        assert self._rules is not None
        with watch.of(RULES):
            found = self._rules.evaluate(merge(good))
        rows.add(stream.alerts.name, [found.alerts])
        with watch.of(BRONZE):
            rows.add(stream.bronze.name, bronze_rows(UNGUARDED, raws))
        with watch.of(SILVER):
            rows.add(stream.silver.name, silver_rows(stream, good))
        counted: list[tuple[Kind, str]] = [
            ("read", stream.bronze.name),
            ("good", stream.silver.name),
            ("again", stream.duplicates.name),
            ("refused", stream.quarantine.name),
        ]
        with watch.of(QUALITY):
            for kind, table in counted:
                parts = [part for each in rows.of[table] for part in Part.of(kind, each)]
                rows.of[stream.data_quality.name] += parts
        self._settle(good, rows)

    def _settle(self, good: list[Batch], rows: "_Rows") -> None:
        for name, groups in self._windows.items():
            with self._watch.of(name):
                panes, late = groups.feed(good)
                if panes is not None:
                    rows.add(self._stream.window_table(name).name, [as_times(panes)])
            rows.add(self._stream.late.name, late)
        self._last = [batch.progress for batch in good]
        self._empty = good[0].frame.clear()
        for name, writer in self._writers.items():
            with self._watch.of(self._pieces.get(name, OTHERS)):
                writer.write_batch([*rows.of[name], *self._last])

    def end_epoch(self) -> None:
        """Take snapshots and commit."""
        with self._watch.of(SNAPSHOTS):
            for features in self._features:
                features.snapshot()
            for groups in self._windows.values():
                groups.snapshot()
        for name, writer in self._writers.items():
            with self._watch.of(self._pieces.get(name, OTHERS)):
                pickle.dumps(writer.snapshot())

    def end(self) -> None:
        """Close every window, as at the end of all event time, and commit them."""
        batches = [Batch(each.at(END_OF_INPUT), self._empty) for each in self._last]
        self._settle(batches, _Rows())
        self.end_epoch()


class _Rows:
    """Frames by table."""

    def __init__(self) -> None:
        self.of: dict[str, list[Any]] = defaultdict(list)

    def add(self, table: str, frames: Sequence[pl.DataFrame]) -> None:
        self.of[table] += [frame for frame in frames if frame.height]


def _frames(items: list[Batch | pl.DataFrame]) -> list[pl.DataFrame]:
    return [item for item in items if isinstance(item, pl.DataFrame)]


def _batches(items: list[Batch | pl.DataFrame]) -> list[Batch]:
    return [item for item in items if isinstance(item, Batch)]


def measure(path: Path, events: int, epoch: int) -> dict[str, float]:
    """Return CPU seconds by piece; `epoch` is how many events one has."""
    settings, watch = settings_.load(), Stopwatch()
    memory.settle()
    with watch.of(CONSUME):
        consume(settings, events)
    worker, taken = Worker(settings, watch), 0
    for raws in activations(path, settings.topic, settings.batch_size):
        worker.take(raws)
        taken += sum(map(len, raws))
        if taken >= epoch:
            worker.end_epoch()
            taken = 0
    worker.end()
    return {piece: watch.spent[piece] for piece in PIECES}


if __name__ == "__main__":
    path, *numbers = sys.argv[1:]
    found: dict[str, Any] = measure(Path(path), *map(int, numbers))
    json.dump(found, sys.stdout)

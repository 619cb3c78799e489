"""Sources: a topic as a flow reads it, checked against what the flow's tables hold of it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import polars as pl

from flows import reporting
from flows.backfilling import past_of
from flows.flow_settings import FlowSettings
from flows.starting import at_good_end, known_partitions
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from flows.told import told
from operators import shown
from operators.connectors import file_limit, recovery
from operators.connectors.delta import table as delta
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table_history import TableHistory
from operators.connectors.delta.warming import Warming
from operators.connectors.delta.warming import warming as find_warming
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.reached import reached
from operators.connectors.kafka.reader import READERS
from operators.connectors.kafka.source import KafkaSource
from operators.connectors.shutdown import SHUTDOWN
from operators.connectors.topic_identity import HOW_TO_GO_ON
from operators.connectors.warm_source import WarmSource
from operators.connectors.watched import WatchedSource
from operators.errors import KnownError
from operators.event_time.frontier import Frontier, joining_floors
from operators.privacy import KeyRing, opened
from operators.records.batches import Progress, RawBatch
from operators.records.breaker import Breaker
from operators.records.columns import KEY_ID, RAW_COLUMNS
from operators.records.raw import as_consumed

# With few records a batch costs as much as with many, and the cores are others' too.
_UNHURRIED_SECONDS: Final = 0.5
_ABREAST: Final = timedelta(minutes=1)
# For lag tools alone, so nobody waits long.
_FINISH_SECONDS: Final = 3.0
# Of another source, of the topics that are written to, of group offsets, and while it starts.
_OTHER_CLIENTS: Final = 8


def abreast(own: StreamSettings, stream: Stream) -> StreamSettings:
    """Return the settings as a stream's partitions are read by them.

    Where features by another key have to be waited for, what is read ahead of the others is held.
    """
    if not stream.features.questions:
        return own
    return own.model_copy(update={"alignment": min(own.alignment, _ABREAST)})


def open_source(
    settings: FlowSettings,
    own: StreamSettings,
    partitions: Sequence[int],
    tables: DeltaSink | None,
    stream: Stream | None = None,
    *,
    group: str,
    hurried: bool,
    breaker: Breaker,
    anew: bool = False,
    backfills: bool = False,
) -> WatchedSource[Any, Any]:
    """Return the source of a topic, which goes on where the recovery store and the tables are.

    A flow without `tables` has the recovery store alone. The tables of a `stream` bring state
    that the recovery store does not have, nor one that is made `anew`; one that `backfills` reads
    first what bronze has under another root, or the topic alone. A flow that is not `hurried`, as
    nobody waits for its answers, reads twice a second.

    Raises FileLimitError if the process may not open the files that this takes,
    TopicChangedError if the tables were made of other topics, FencedError if the topic ends
    before what they hold of it, and KafkaException or KafkaUnavailableError if the brokers do
    not say where it ends.
    """
    topic, timeout = own.topic, settings.start_timeout.total_seconds()
    brokers = kafka.count_brokers(settings.kafka, timeout)
    file_limit.ensure(files_needed(len(partitions), brokers, told().workers))
    known = set() if anew else known_partitions(topic)
    warming: Warming | None = None
    past_alone: frozenset[int] = frozenset()
    floors: Mapping[int, int] = {}
    ends: Mapping[int, int] = {}
    held: list[Frontier] = []
    start = settings.start
    if tables is not None:
        tables.refuse_others()
        # In this order: another copy of the flow may be writing.
        held = tables.frontiers()
        if any(frontier.offsets for frontier in held):
            # No first start: what the tables lack is behind what they have, not at the end.
            start = "earliest"
            ends = kafka.end_offsets(settings.kafka, topic, partitions, timeout, group)
            refuse_shorter(topic, ends, held)
        if backfills and stream is not None:
            if not known:
                refuse_half_a_backfill(settings.delta_root, held)
            warming, past_alone = past_of(settings, own, stream, tables.fence)
        elif stream is not None and not known:
            warming = find_warming(
                settings.delta_root,
                stream.ledger,
                stream.all_tables,
                tables.fence,
                topic,
                partial(_has, settings, topic),
            )
        added = [(topic, partition) for partition in set(partitions) - known]
        floors = {p: floor for (_, p), floor in joining_floors(held, added).items()}
    if told().process == 0:
        ends = ends or kafka.end_offsets(settings.kafka, topic, partitions, timeout, group)
        _report(settings, topic, ends, warming, start=start, anew=anew)
    if tables is None or tables.timed:
        shown.expect_watermarks(topic, partitions)
    source = KafkaSource(
        settings.kafka,
        topic,
        partitions,
        start=start,
        resumes=bool(known) or warming is not None,
        floors=floors,
        reached=reached(held, topic, partitions),
        batch_size=settings.batch_size,
        idle_timeout=own.idle_timeout.total_seconds(),
        alignment=own.alignment.total_seconds(),
        read_every=0.0 if hurried else _UNHURRIED_SECONDS,
        stop_at_end=settings.stop_at_end,
        # Without tables there are no windows either.
        close_windows=settings.close_windows_at_end and tables is not None,
        group=group,
        breaker=breaker,
        shutdown=SHUTDOWN,
    )
    at_good_end(lambda: source.group_offsets.finish(_FINISH_SECONDS))
    if stream is None:
        return WatchedSource(source)
    if backfills and settings.backfill_from and settings.backfill_of == "bronze":
        columns = {**RAW_COLUMNS, KEY_ID: pl.String()}
        root = settings.backfill_from
        history = TableHistory(root, stream.bronze.name, topic, columns)
        came = partial(_as_consumed, settings.key_ring)
        past = WarmSource(source, history, warming, came, past_alone=past_alone)
        return WatchedSource(past)
    history = TableHistory(settings.delta_root, stream.silver.name, topic, stream.past)
    return WatchedSource(WarmSource(source, history, warming))


def _as_consumed(ring: KeyRing, progress: Progress, rows: pl.DataFrame) -> RawBatch:
    return as_consumed(progress, opened(rows, ring))


def files_needed(partitions: int, brokers: int, workers: int = 1) -> int:
    """Return how many files and sockets a process that reads a topic has open at the most."""
    return file_limit.needed(_OTHER_CLIENTS + workers * min(READERS, partitions), brokers)


def _has(settings: FlowSettings, topic: str, offsets: Mapping[int, int]) -> bool:
    """Tell whether a topic still has all records from offsets by partition on."""
    timeout = settings.start_timeout.total_seconds()
    firsts = kafka.first_offsets(settings.kafka, topic, offsets, timeout)
    return all(firsts[partition] <= offset for partition, offset in offsets.items())


def _report(
    settings: FlowSettings,
    topic: str,
    ends: Mapping[int, int],
    warming: Warming | None,
    *,
    start: str | datetime,
    anew: bool,
) -> None:
    """Say where reading begins and how far that is from the topic's ends."""
    directory, timeout = told().recovery, settings.start_timeout.total_seconds()
    positions: Mapping[int, int | None] = {}
    if warming is not None:
        positions = {p: offset + 1 for p, offset in warming.until.items()}
    elif directory is not None and not anew:
        positions = recovery.offsets(directory, topic)
    waiting = None
    if positions or start == "earliest":
        known = {p: offset for p, offset in positions.items() if offset is not None}
        begins = kafka.first_offsets(settings.kafka, topic, ends.keys() - known.keys(), timeout)
        waiting = sum(end - {**begins, **known}[p] for p, end in ends.items())
    whose = "recovery store's" if warming is None else "tables'"
    reporting.reads(topic, sorted(ends), positions, start=start, waiting=waiting, whose=whose)


def refuse_half_a_backfill(root: str, frontiers: Iterable[Frontier]) -> None:
    """Refuse tables of a backfill whose recovery store is gone: nobody knows where it was."""
    if any(frontier.offsets for frontier in frontiers):
        raise KnownError(
            f"the tables under {root} are of a backfill whose recovery directory is gone: name "
            "that one with -r, or delete them and begin again"
        )


def refuse_shorter(topic: str, ends: Mapping[int, int], frontiers: Iterable[Frontier]) -> None:
    """Refuse a topic that ends before what the tables hold: their fences would drop its records."""
    held: dict[int, int] = {}
    for frontier in frontiers:
        for (name, partition), offset in frontier.offsets.items():
            if name == topic:
                held[partition] = max(offset, held.get(partition, offset))
    gone = [
        f"partition {partition} ends at {ends[partition]}, but offset {offset} is in the tables"
        for partition, offset in sorted(held.items())
        if offset >= ends.get(partition, offset + 1)
    ]
    if gone:
        raise delta.FencedError(
            f"topic {topic} has lost records or was made anew ({'; '.join(gone)}): what comes next "
            f"would be taken for what the tables already have. {HOW_TO_GO_ON}"
        )

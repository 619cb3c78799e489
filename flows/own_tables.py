"""The tables of a flow: what writes them, and what its state may be made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from flows.enforced.topic import Enforced
from flows.flow_settings import FlowSettings
from flows.settings import Settings
from flows.streams import Stream, writers
from flows.streams.settings import StreamSettings
from operators import shown
from operators.avro.drift import ONE_DRIFT
from operators.connectors.delta.accounts import has_rows
from operators.connectors.delta.counting import counting
from operators.connectors.delta.once import once
from operators.connectors.delta.refused_run import refused_before
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.warming import warming
from operators.connectors.kafka import topic_ids
from operators.records.breaker import Breaker
from operators.records.tables import Table


def sink_of(
    flow: str,
    settings: FlowSettings,
    topics: Mapping[str, Sequence[int]],
    identities: Mapping[str, str],
    tables: Sequence[Table],
    counted: Iterable[Stream] = (),
    *,
    timed: bool = True,
) -> DeltaSink:
    """Return the sink of a flow's tables; those of some streams that have a writer of their own.

    `timed` is as of `DeltaSink`.
    """
    places = [(topic, p) for topic, found in topics.items() for p in found]
    shown.expect_tables((each.name for each in tables), places)
    return DeltaSink(
        settings.delta_root,
        tables,
        flow=flow,
        flow_version=version("millstream"),
        partitions=places,
        identities=identities,
        slice_=str(settings.share) if settings.share else None,
        unchanged=topic_ids.Unchanged(settings.kafka, identities),
        writers=writers_of(settings, counted),
        timed=timed,
    )


def writers_of(settings: FlowSettings, streams: Iterable[Stream]) -> dict[str, Any]:
    """Return how those of the streams' tables are written that have a writer of their own."""
    found: dict[str, Any] = {}
    for each in streams:
        found |= once(each.schema_drift, ONE_DRIFT)
        topic = None
        if isinstance(each, Enforced):
            topic = each.topic
        elif isinstance(settings, Settings):
            topic = settings.of(each).topic
        if each.counted and topic is not None:
            found |= counting(settings.delta_root, each.ledger, each.data_quality, topic)
    return found


def breaker_of(
    flow: str,
    settings: FlowSettings,
    stream: Stream,
    own: StreamSettings,
    in_topic: Callable[[int, int], int] = lambda _, __: 0,
) -> Breaker:
    """Return what pauses a stream's partitions in a flow; `own` are the stream's settings.

    `in_topic` tells of a partition how many records before an offset are refused in a row, where
    the flow writes no tables that do.
    """
    ratio, run, ends = own.max_reject_ratio, own.max_reject_run, settings.stop_at_end
    if settings.backfill_from:
        # What was refused in the past was refused for good.
        ratio = 1.0
    if not isinstance(stream, Enforced) and writers()[stream.silver.name][1] != flow:
        # Another flow's tables may be ahead of this one, or behind it.
        return Breaker(ratio, run=run, before=in_topic, ends=ends)
    before = partial(refused_before, settings.delta_root, stream.ledger, run)
    return Breaker(ratio, run=run, before=before, ends=ends)


@dataclass(frozen=True)
class OwnTables:
    """The tables of a flow's own stream, if it has one, as its state may be made of them.

    Raises what reading them does.
    """

    settings: Settings
    stream: Stream | None
    sink: DeltaSink

    def can_warm(self) -> bool:
        """Tell whether they can make it anew."""
        if self.stream is None:
            return False
        self.sink.refuse_others()
        root, topic = self.settings.delta_root, self.settings.of(self.stream).topic
        tables = self.stream.all_tables
        fence = self.sink.fence
        found = warming(root, self.stream.ledger, tables, fence, topic, lambda _: False)
        return found is not None

    def has_rows(self, window: str) -> bool:
        """Tell whether that of a window has any."""
        if self.stream is None:
            return False
        table = self.stream.window_table(window)
        return has_rows(self.settings.delta_root, table, self.sink.fence)

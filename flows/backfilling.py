"""Backfilling: what a flow reads that makes its tables anew under another root."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from flows.flow_settings import FlowSettings
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.columns.durations import micros
from operators.connectors.delta.needed import needed
from operators.connectors.delta.table import Fence
from operators.connectors.delta.warming import Warming, recorded

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


def past_of(
    settings: FlowSettings, own: StreamSettings, stream: Stream, fence: Fence
) -> tuple[Warming | None, frozenset[int]]:
    """Return how far bronze is read, and the partitions of which nothing is read behind it.

    Nothing of bronze where the topic is read instead. Raises KnownError if there is no bronze, and
    StorageUnavailableError.
    """
    root = settings.backfill_from
    if root is None or settings.backfill_of == "topic":
        return None, frozenset()
    found = recorded(root, stream.bronze, fence, own.topic)
    ends = ends_of(settings, own, stream)
    until = {p: min(last, ends.get(p, last)) for p, last in found.until.items()}
    return replace(found, until=until), frozenset(ends)


def ends_of(settings: FlowSettings, own: StreamSettings, stream: Stream) -> Mapping[int, int]:
    """Return the last offsets that are read, by partition, of those that are not read wholly.

    That is where only what happened before a time is to be made anew. Where features by another
    key hold records until all partitions are there it is none. Raises StorageUnavailableError.
    """
    before, root = settings.backfill_to, settings.backfill_from
    if before is None or root is None or stream.features.questions:
        return {}
    due = before if settings.backfill_silver_alone else _closed(before, own, stream)
    return needed(root, stream.silver.name, own.topic, before, due)


def _closed(before: datetime, own: StreamSettings, stream: Stream) -> datetime:
    """Return the watermark at which no window of an event before a time is open any more.

    But for sessions that go on.
    """
    last = (before - _EPOCH) // _TICK - 1
    windows = stream.windowed(micros(own.allowed_lateness)).values()
    dues = [_EPOCH + each.closed_by(last) * _TICK for each in windows]
    return max([before, *dues])

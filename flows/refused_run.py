"""Refused in a row: how many records were that lie before one, as their topic has them.

A flow that writes no table of what it refuses has nothing else that tells. So it looks at those
records again, once a partition after a start, and only where the first one is refused too.
"""

from typing import Final

from flows.decoding import contract_of, decoder_of
from flows.flow_settings import FlowSettings
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.avro import Lookup
from operators.columns.durations import micros
from operators.connectors.kafka.before import read_before
from operators.records.batches import Progress
from operators.records.breaker import Runs
from operators.steps.decode import refused_among

_GAPS: Final = 4
"""So many offsets are looked at for each record: markers of transactions have some of their own."""


def refused_in_topic(
    settings: FlowSettings,
    stream: Stream,
    own: StreamSettings,
    lookup: Lookup,
    group: str,
    partition: int,
    offset: int,
) -> int:
    """Return how many records of a partition before an offset would be refused in a row.

    More than the setting's run of them are not looked for. Raises KafkaUnavailableError, and what
    `lookup` does.
    """
    timeout = settings.start_timeout.total_seconds()
    found = read_before(
        settings.kafka, own.topic, partition, offset, _GAPS * own.max_reject_run,
        group=group, timeout=timeout,
    )  # fmt: skip
    if not found:
        return 0
    raw = found.part(slice(-own.max_reject_run, None)).batch(
        Progress(own.topic, partition, 1, offset - 1)
    )
    decoder, check = decoder_of(stream, lookup), contract_of(stream, micros(own.future_bound))
    return Runs.of(raw.offsets, refused_among(raw, decoder, check)).last

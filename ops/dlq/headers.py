"""Headers that say of a record which reject it is sent again of, and by what."""

from collections.abc import Mapping
from typing import Final

from operators.records.columns import ORIGIN_HEADER as ORIGIN_HEADER
from ops.dlq.quarantine import Place

REPLAY_HEADER: Final = "millstream.replay"
EDITED_HEADER: Final = "millstream.edited"
"""The edit that has changed a record, which tells who it was and why."""


def origin_of(headers: Mapping[str, bytes], replay: str) -> Place | None:
    """Return where the record came from that a replay has sent with these headers, else None."""
    if headers.get(REPLAY_HEADER) != replay.encode():
        return None
    topic, partition, offset = headers[ORIGIN_HEADER].decode().rsplit("/", 2)
    return topic, int(partition), int(offset)

"""Refusals: what a partition is not read on for, with what to do about it."""

from typing import Final

from operators.connectors.kafka.client import EndedError, OffsetGoneError

_MADE_ANEW: Final = "Start with an empty recovery directory and tables"


def out_of_range(name: str, offset: int | None) -> OffsetGoneError:
    """Return what to raise where brokers lack the offset to go on from."""
    return OffsetGoneError(
        f"{name}: offset {offset} is not in the topic: retention has deleted "
        "it, or the topic was made anew. Records were not skipped. Restore the topic, or "
        "start with an empty recovery directory and tables to read what there is"
    )


def shorter(name: str, end: int, offset: int) -> OffsetGoneError:
    """Return what to raise where a topic ends before the offset to go on from."""
    return OffsetGoneError(
        f"{name} ends at {end}, but {offset - 1} was read before: the topic was made anew. "
        f"{_MADE_ANEW}, or restore the topic"
    )


def behind_the_end(name: str) -> EndedError:
    """Return what to raise where records follow an end that had closed every window."""
    return EndedError(
        f"{name} has new records, but an earlier run with MILLSTREAM_CLOSE_WINDOWS_AT_END took "
        f"its end as the end of all event time and closed every window. {_MADE_ANEW}"
    )

"""Pace: when a partition is looked at again, at a time that all partitions have in common.

What partitions are asked at one time costs one round of the engine, not one each.
"""

import time
from datetime import UTC, datetime
from typing import Final

_POLL_SECONDS: Final = 0.002
_REST_SECONDS: Final = 0.05


def next_look(every: float, *, ended: bool, at_once: bool) -> datetime | None:
    """Return the next multiple of `every` seconds, or of 2 ms, None for at once.

    Of a run that has `ended` nothing is read any more, and nobody waits but for the epoch's end.
    """
    if at_once and not ended:
        return None
    every = _REST_SECONDS if ended else every or _POLL_SECONDS
    return datetime.fromtimestamp((time.time() // every + 1) * every, UTC)

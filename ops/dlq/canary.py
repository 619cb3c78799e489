"""Canary: what became of the first few records of a replay, as the flow's tables tell it."""

import time
from collections.abc import Collection
from datetime import timedelta
from typing import Final

import polars as pl

from flows.streams import Stream
from ops.dlq.became import NOWHERE, became
from ops.dlq.quarantine import Place

FINE: Final = ("silver", "duplicate")
_EVERY: Final = 1.0
_SETTLED: Final = 3.0
"""For how many seconds nothing may change any more: a flow commits its tables side by side."""


def awaited(
    root: str, stream: Stream, places: Collection[Place], within: timedelta
) -> pl.DataFrame:
    """Wait for records to be in the stream's tables; return for each where it is, as `outcome`.

    Of those that are in none when the time is over that is `NOWHERE`. Raises QuarantineError.
    """
    deadline = time.monotonic() + within.total_seconds()
    before, since = None, 0.0
    while True:
        found, now = became(root, stream, places), time.monotonic()
        if NOWHERE in found["outcome"]:
            if now >= deadline:
                return found
            before = None
        elif before is None or not found.equals(before):
            # What a rule failed on is in silver, and perhaps refused a moment later.
            before, since = found, now
        elif now - since >= _SETTLED:
            return found
        time.sleep(_EVERY)

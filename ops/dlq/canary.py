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


def awaited(
    root: str, stream: Stream, places: Collection[Place], within: timedelta
) -> pl.DataFrame:
    """Wait for records to be in the stream's tables; return for each where it is, as `outcome`.

    Of those that are in none when the time is over that is `NOWHERE`. Raises QuarantineError.
    """
    deadline, before = time.monotonic() + within.total_seconds(), None
    while True:
        found = became(root, stream, places)
        there = NOWHERE not in found["outcome"]
        # Twice the same: what a rule failed on is in silver, and refused a commit later.
        if (there and before is not None and found.equals(before)) or (
            not there and time.monotonic() >= deadline
        ):
            return found
        before = found if there else None
        time.sleep(_EVERY)

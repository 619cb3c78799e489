"""Quarantine: rejects as they are kept, with what makes them one of a kind and how often tried."""

from typing import Final

import polars as pl

from operators.records.columns import QUARANTINE_COLUMNS
from operators.records.fingerprints import fingerprints

ATTEMPTS_HEADER: Final = "millstream.attempts"
"""Says in a dead letter how often its record was tried; one sent again has it as its own."""

TIMESTAMP_HEADER: Final = "millstream.timestamp"
"""Says in a dead letter, and in a record that is sent again, what the record's Kafka time was."""

_MOST: Final = 2**31 - 2


def quarantined(stream: str, rejects: pl.DataFrame) -> pl.DataFrame:
    """Return a stream's rejects, of `REJECT_COLUMNS`, with `QUARANTINE_COLUMNS`."""
    made = [fingerprints(stream, rejects), _attempts(rejects["headers"])]
    return rejects.hstack(made)[list(QUARANTINE_COLUMNS)]


def _attempts(headers: pl.Series) -> pl.Series:
    """Return how often each record was tried, this time included, as its headers tell."""
    if headers.null_count() == len(headers):
        return pl.repeat(1, len(headers), dtype=pl.Int32, eager=True).alias("attempts")
    before = [_told(each) for each in headers.to_list()]
    return pl.Series("attempts", [each + 1 for each in before], pl.Int32)


def _told(headers: list[dict[str, str | bytes | None]] | None) -> int:
    # Of headers that repeat a name the last counts: ours stand behind the record's own.
    for header in reversed(headers or ()):
        if header["key"] == ATTEMPTS_HEADER:
            value = header["value"] or b""
            # Anybody may send any bytes, and int() takes more than digits.
            return min(int(value), _MOST) if value.isdigit() and len(value) <= 10 else 0
    return 0

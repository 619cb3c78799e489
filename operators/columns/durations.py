"""Durations: "30s", "5m" or "1h" as microseconds, and as texts."""

import re
from datetime import timedelta
from typing import Final

Duration = str | int | timedelta
"""A number with a unit (us, ms, s, m, h, d) as text, microseconds, or a timedelta."""

_UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_FORM: Final = re.compile(r"(\d+)(us|ms|s|m|h|d)")


def micros(duration: Duration) -> int:
    """Return a duration in µs; raises ValueError for text of another form."""
    if isinstance(duration, timedelta):
        return duration // timedelta(microseconds=1)
    if isinstance(duration, int):
        return duration
    found = _FORM.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration such as 500ms, 30s, 5m, 1h or 7d")
    return int(found[1]) * _UNITS[found[2]]


_WORDS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def in_short(duration: timedelta) -> str:
    """Return a duration as settings say it, in the largest unit of which it is a whole number.

    Of a minute alone that is 60s.
    """
    seconds = duration.total_seconds()
    for unit, size, least in (("d", 86_400, 1), ("h", 3_600, 1), ("m", 60, 2)):
        if seconds >= least * size and not seconds % size:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def in_words(seconds: float) -> str:
    """Return seconds as a person reads them, of one unit, such as 119 s, 2 min, 47 h or 3 d."""
    for unit, size in _WORDS:
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(seconds, 0):,.0f} s"

"""Joins of streams by key and event time."""

from operators.joins.interval import OpenIntervals
from operators.joins.spec import IntervalJoin, Joined, TemporalJoin
from operators.joins.temporal import OpenVersions
from operators.joins.together import Together

__all__ = [
    "IntervalJoin",
    "Joined",
    "OpenIntervals",
    "OpenVersions",
    "TemporalJoin",
    "Together",
]

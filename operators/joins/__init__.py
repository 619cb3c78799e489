"""Joins of streams by key and event time."""

from operators.joins.interval import IntervalJoin, Joined, OpenIntervals
from operators.joins.temporal import OpenVersions, TemporalJoin

__all__ = ["IntervalJoin", "Joined", "OpenIntervals", "OpenVersions", "TemporalJoin"]
